"""Networks, secrets, projects and keys with the official Python SDK: every call around the VPN that the other suites do not make anyway."""

import base64
import unittest
import uuid

from scaleway import Client, ScalewayException
from scaleway.account.v3 import AccountV3ProjectAPI
from scaleway.iam.v1alpha1 import IamV1Alpha1API
from scaleway.ipam.v1 import CustomResource, IpamV1API, Reverse, Source
from scaleway.secret.v1beta1 import Product, SecretType, SecretV1Beta1API
from scaleway.vpc.v2 import AclRule, AclRuleProtocol, Action, VpcV2API

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
        rules = [
            AclRule(AclRuleProtocol.TCP, "0.0.0.0/0", 0, 0, "10.84.0.0/24", 22, 23, Action.DROP, "no shells"),
            AclRule(AclRuleProtocol.ANY, "10.85.0.0/16", 0, 0, "0.0.0.0/0", 0, 0, Action.ACCEPT, None),
        ]
        set_ = api.set_acl(vpc_id=vpc.id, rules=rules, is_ipv6=False, default_policy=Action.DROP)
        self.assertEqual((set_.rules, set_.default_policy), (rules, "drop"))
        self.assertEqual(api.get_acl(vpc_id=vpc.id, is_ipv6=False).rules, rules)
        self.assertEqual(api.get_acl(vpc_id=vpc.id, is_ipv6=True).rules, [])
        body = self.refused(
            400, api.set_acl, vpc_id=vpc.id, rules=rules, is_ipv6=True, default_policy=Action.UNKNOWN_ACTION
        )
        wrong = {detail["argument_name"] for detail in body["details"]}
        self.assertEqual(
            wrong,
            {"default_policy", *(f"rules[{index}].{side}" for index in (0, 1) for side in ("source", "destination"))},
        )

    def test_routes_through_an_address_of_ones_own(self):
        api, ipam = VpcV2API(self.client), IpamV1API(self.client)
        vpc = api.create_vpc(name=RUN, enable_routing=True, enable_transitivity=False)
        self.addCleanup(api.delete_vpc, vpc_id=vpc.id)
        network = api.create_private_network(
            name=RUN, vpc_id=vpc.id, subnets=["10.86.0.0/24"], default_route_propagation_enabled=False
        )
        self.addCleanup(api.delete_private_network, private_network_id=network.id)
        router = CustomResource(mac_address="bc:24:11:74:d0:5b", name="router")
        ip = ipam.book_ip(source=Source(private_network_id=network.id), is_ipv6=False)
        ip = ipam.attach_ip(ip_id=ip.id, resource=router)
        self.assertEqual((ip.resource.type_, ip.resource.id, ip.resource.name), ("custom", ip.id, "router"))
        self.assertEqual(ip.resource.mac_address, "BC:24:11:74:D0:5B")
        names = [Reverse(hostname="router.example.net")]
        self.assertEqual(ipam.update_ip(ip_id=ip.id, reverses=names).reverses, names)

        route = api.create_route(
            description="", vpc_id=vpc.id, destination="10.99.0.0/16", tags=["t"], nexthop_resource_id=ip.id
        )
        self.assertEqual((route.type_, route.is_read_only, route.description), ("custom", False, "Custom route"))
        self.assertEqual((route.nexthop_private_network_id, route.nexthop_vpc_connector_id), (network.id, None))
        self.assertEqual(api.get_route(route_id=route.id), route)
        changed = api.update_route(route_id=route.id, description="d", destination="10.98.0.0/16")
        self.assertEqual((changed.description, changed.destination, changed.tags), ("d", "10.98.0.0/16", ["t"]))
        again = {"description": "", "vpc_id": vpc.id, "nexthop_resource_id": ip.id}
        body = self.refused(409, api.create_route, destination="10.98.0.0/16", **again)
        self.assertEqual((body["type"], body["resource_id"]), ("already_exists", route.id))
        body = self.refused(400, api.create_route, destination="10.86.0.0/25", **again)
        self.assertEqual(body["details"][0]["argument_name"], "destination")

        other = CustomResource(mac_address="02:00:00:00:00:01")
        moved = ipam.move_ip(ip_id=ip.id, from_resource=router, to_resource=other)
        self.assertEqual((moved.resource.mac_address, moved.resource.name), ("02:00:00:00:00:01", None))
        body = self.refused(412, ipam.detach_ip, ip_id=ip.id, resource=other)
        self.assertEqual(body["precondition"], "resource_still_in_use")
        api.delete_route(route_id=route.id)
        body = self.refused(404, api.get_route, route_id=route.id)
        self.assertEqual((body["resource"], body["resource_id"]), ("unknown", ""))
        self.refused(412, ipam.release_ip_set, ip_ids=[ip.id])
        self.assertIsNone(ipam.detach_ip(ip_id=ip.id, resource=other).resource)
        more = ipam.book_ip(source=Source(subnet_id=ip.source.subnet_id), is_ipv6=False)
        ipam.release_ip_set(ip_ids=[ip.id, more.id])
        self.assertEqual(ipam.list_i_ps(private_network_id=network.id).total_count, 0)
        for source, field in ((Source(vpc_id=vpc.id), "source.vpc_id"), (Source(regional=True), "source.regional")):
            body = self.refused(400, ipam.book_ip, source=source, is_ipv6=False)
            self.assertEqual(body["details"][0]["argument_name"], field)

    def refused(self, status, call, **arguments):
        """The body of the error that the call has to end in."""
        with self.assertRaises(ScalewayException) as raised:
            call(**arguments)
        self.assertEqual(raised.exception.status_code, status, raised.exception)
        return raised.exception.response.json()

    def test_typed_secrets_folders_and_owners(self):
        api = SecretV1Beta1API(self.client)
        folder = f"/{RUN}"
        secret = api.create_secret(
            name="db", protected=False, type_=SecretType.BASIC_CREDENTIALS, path=folder, tags=[RUN]
        )
        self.addCleanup(api.delete_secret, secret_id=secret.id)
        wrong = base64.b64encode(b'{"username": "u", "password": 1}').decode()
        body = self.refused(400, api.create_secret_version, secret_id=secret.id, data=wrong)
        detail = body["details"][0]
        self.assertEqual((detail["argument_name"], detail["reason"]), ("data", "format"))
        data = base64.b64encode(b'{"username": "u", "password": "p"}').decode()
        api.create_secret_version(secret_id=secret.id, data=data)
        read = api.access_secret_version_by_path(secret_path=folder, secret_name="db", revision="latest_enabled")
        self.assertEqual((read.secret_id, read.data, read.type_), (secret.id, data, "basic_credentials"))
        api.add_secret_owner(secret_id=secret.id, product=Product.S2S_VPN)
        self.assertEqual(api.get_secret(secret_id=secret.id).used_by, [Product.S2S_VPN])
        self.assertIn(RUN, api.list_tags_all())
        self.assertEqual(set(api.list_secret_types_all()), set(SecretType) - {SecretType.UNKNOWN_TYPE})

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
