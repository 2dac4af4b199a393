"""Networks, secrets, projects and keys with the official Python SDK: every call around the VPN that the other suites do not make anyway."""

import base64
import unittest
import uuid

from scaleway import Client, ScalewayException
from scaleway.account.v3 import AccountV3ProjectAPI
from scaleway.iam.v1alpha1 import IamV1Alpha1API
from scaleway.secret.v1beta1 import SecretType, SecretV1Beta1API
from scaleway.vpc.v2 import VpcV2API

RUN = f"py-{uuid.uuid4().hex[:8]}"


class Around(unittest.TestCase):
    def setUp(self):
        self.client = Client.from_env()

    def test_vpc_and_private_network(self):
        api = VpcV2API(self.client)
        vpc = api.create_vpc(name=RUN, enable_routing=False, enable_transitivity=False)
        self.addCleanup(api.delete_vpc, vpc_id=vpc.id)
        # Routing is always on.
        self.assertTrue(vpc.routing_enabled)
        self.assertTrue(api.enable_routing(vpc_id=vpc.id).routing_enabled)
        self.assertTrue(api.enable_custom_routes_propagation(vpc_id=vpc.id).custom_routes_propagation_enabled)
        network = api.create_private_network(
            name=RUN, vpc_id=vpc.id, subnets=["10.84.0.0/24"], default_route_propagation_enabled=False
        )
        self.addCleanup(api.delete_private_network, private_network_id=network.id)
        changed = api.update_private_network(private_network_id=network.id, name=f"{RUN} 2", tags=["b", "a"])
        self.assertEqual((changed.name, changed.tags, changed.subnets), (f"{RUN} 2", ["b", "a"], network.subnets))
        self.assertTrue(api.enable_dhcp(private_network_id=network.id).dhcp_enabled)
        listed = api.list_subnets_all(vpc_id=vpc.id, page_size=1)
        self.assertEqual([subnet.id for subnet in listed], [subnet.id for subnet in network.subnets])
        acl = api.get_acl(vpc_id=vpc.id, is_ipv6=False)
        self.assertEqual((acl.rules, acl.default_policy), ([], "accept"))

    def test_secret(self):
        api = SecretV1Beta1API(self.client)
        secret = api.create_secret(name=RUN, protected=False, type_=SecretType.OPAQUE)
        version = api.create_secret_version(secret_id=secret.id, data=base64.b64encode(b"one").decode())
        which = {"secret_id": secret.id, "revision": str(version.revision)}
        self.assertEqual(api.get_secret_version(**which).status, "enabled")
        self.assertEqual(api.update_secret_version(**which, description="d").description, "d")
        self.assertEqual(api.disable_secret_version(**which).status, "disabled")
        self.assertEqual(api.enable_secret_version(**which).status, "enabled")
        self.assertEqual(api.update_secret(secret_id=secret.id, description="e").description, "e")
        self.assertTrue(api.protect_secret(secret_id=secret.id).protected)
        with self.assertRaises(ScalewayException) as raised:
            api.delete_secret(secret_id=secret.id)
        self.assertEqual(raised.exception.response.json()["precondition"], "protected_resource")
        self.assertFalse(api.unprotect_secret(secret_id=secret.id).protected)
        api.delete_secret_version(**which)
        with self.assertRaises(ScalewayException) as raised:
            api.access_secret_version(**which)
        self.assertIn(raised.exception.status_code, (400, 404, 412))
        api.delete_secret(secret_id=secret.id)

    def test_project_and_key(self):
        projects = AccountV3ProjectAPI(self.client)
        own = projects.get_project(project_id=self.client.default_project_id)
        self.assertEqual(own.organization_id, self.client.default_organization_id)
        self.assertIn(own.id, [project.id for project in projects.list_projects_all()])
        made = projects.create_project(name=RUN, description="d")
        self.assertEqual((made.name, made.description, made.organization_id), (RUN, "d", own.organization_id))
        changed = projects.update_project(project_id=made.id, description="e")
        self.assertEqual((changed.name, changed.description), (RUN, "e"))
        projects.delete_project(project_id=made.id)
        with self.assertRaises(ScalewayException) as raised:
            projects.get_project(project_id=made.id)
        self.assertEqual(raised.exception.response.json()["resource"], "project_id")
        key = IamV1Alpha1API(self.client).get_api_key(access_key=self.client.access_key)
        self.assertEqual((key.access_key, key.secret_key), (self.client.access_key, None))
        self.assertEqual(key.default_project_id, own.id)
        with self.assertRaises(ScalewayException) as raised:
            IamV1Alpha1API(self.client).get_api_key(access_key="SCWAAAAAAAAAAAAAAAAA")
        body = raised.exception.response.json()
        self.assertEqual((body["resource"], body["resource_id"]), ("access_key", "SCWAAAAAAAAAAAAAAAAA"))


if __name__ == "__main__":
    unittest.main()
