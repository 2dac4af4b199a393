"""The official Python SDK against a running service, with nothing but operator.env's variables set.

Everything that is created carries a name of this run and is deleted at the end, also after a failure.
"""

import base64
import os
import time
import unittest
import uuid
import zlib

from scaleway import Client, ScalewayException
from scaleway.ipam.v1 import IpamV1API, Source
from scaleway.s2s_vpn.v1alpha1 import (
    BgpSessionStatus,
    ChangeConnectionPskRequestSecret,
    ConnectionCipher,
    ConnectionDhGroup,
    ConnectionEncryption,
    ConnectionInitiationPolicy,
    ConnectionIntegrity,
    CreateConnectionRequestBgpConfig,
    CreateConnectionRequestInitiationPolicy,
    CreateConnectionRequestSecret,
    CreateVpnGatewayRequestPublicTunnelConfig,
    CreateVpnGatewayRequestSingleIpTunnel,
    ListVpnGatewaysRequestOrderBy,
    S2SVpnV1Alpha1API,
    TunnelStatus,
    VpnGatewayStatus,
)
from scaleway.secret.v1beta1 import (
    EphemeralPolicy,
    EphemeralPolicyAction,
    Product,
    SecretType,
    SecretV1Beta1API,
    SecretVersionStatus,
)
from scaleway.vpc.v2 import VpcV2API
from scaleway_core.api import API
from scaleway_core.utils import WaitForOptions

RUN = f"sdk-{uuid.uuid4().hex[:8]}"
CIPHER = ConnectionCipher(
    encryption=ConnectionEncryption.AES256GCM,
    integrity=ConnectionIntegrity.SHA384,
    dh_group=ConnectionDhGroup.CURVE25519,
)
ESP_CIPHER = ConnectionCipher(encryption=ConnectionEncryption.AES256GCM, dh_group=ConnectionDhGroup.CURVE25519)


class Extension(API):
    """The extension API, through the SDK's own HTTP layer."""

    def call(self, method, path, body=None):
        response = self._request(method, f"/causeway/v1{path}", body=body)
        self._throw_on_error(response)
        return response


class Slice(unittest.TestCase):
    """One VPC, one Private Network and one active gateway for all tests."""

    @classmethod
    def setUpClass(cls):
        cls.client = Client.from_env()
        cls.region = cls.client.default_region
        cls.vpc_api = VpcV2API(cls.client)
        cls.ipam = IpamV1API(cls.client)
        cls.secrets = SecretV1Beta1API(cls.client)
        cls.api = S2SVpnV1Alpha1API(cls.client)
        cls.extension = Extension(cls.client)

        cls.vpc = cls.vpc_api.create_vpc(name=RUN, enable_routing=True, enable_transitivity=False, tags=["a", "b c"])
        cls.addClassCleanup(cls.vpc_api.delete_vpc, vpc_id=cls.vpc.id)
        cls.network = cls.vpc_api.create_private_network(
            name=RUN,
            vpc_id=cls.vpc.id,
            subnets=["10.77.0.0/24"],
            default_route_propagation_enabled=False,
        )
        cls.addClassCleanup(cls.vpc_api.delete_private_network, private_network_id=cls.network.id)
        cls.gateway = cls.new_gateway(RUN)
        cls.addClassCleanup(cls.delete_gateway, cls.gateway.id)
        cls.created_status = cls.gateway.status
        cls.gateway = cls.api.wait_for_vpn_gateway(gateway_id=cls.gateway.id, options=waiting())

    @classmethod
    def new_gateway(cls, name, **options):
        return cls.api.create_vpn_gateway(
            name=name, gateway_type="VGW-S", private_network_id=cls.network.id, tags=["gw"], **options
        )

    @classmethod
    def delete_gateway(cls, gateway_id):
        """Deletes it as Terraform does: wait for a settled status, delete, wait for 404."""
        cls.api.wait_for_vpn_gateway(gateway_id=gateway_id, options=waiting())
        deleted = cls.api.delete_vpn_gateway(gateway_id=gateway_id)
        assert deleted.status == VpnGatewayStatus.DEPROVISIONING, deleted.status
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                cls.api.get_vpn_gateway(gateway_id=gateway_id)
            except ScalewayException as error:
                assert error.status_code == 404, error
                return
            time.sleep(0.2)
        raise AssertionError(f"gateway {gateway_id} was still there 90 s after its deletion")

    def customer(self, address, asn=65010, **options):
        gateway = self.api.create_customer_gateway(name=RUN, asn=asn, ipv4_public=address, **options)
        self.addCleanup(self.api.delete_customer_gateway, gateway_id=gateway.id)
        return gateway

    def policy(self, is_ipv6=False):
        prefix_in, prefix_out = ("fd99::/48", "fd00::/8") if is_ipv6 else ("10.99.0.0/16", "10.77.0.0/24")
        policy = self.api.create_routing_policy(
            name=RUN, is_ipv6=is_ipv6, prefix_filter_in=[prefix_in], prefix_filter_out=[prefix_out]
        )
        self.addCleanup(self.api.delete_routing_policy, routing_policy_id=policy.id)
        return policy

    def connection(self, customer, policy=None, **options):
        bgp = CreateConnectionRequestBgpConfig(routing_policy_id=policy.id) if policy else None
        arguments = {
            "name": RUN,
            "is_ipv6": False,
            "initiation_policy": CreateConnectionRequestInitiationPolicy.CUSTOMER_GATEWAY,
            "ikev2_ciphers": [CIPHER],
            "esp_ciphers": [ESP_CIPHER],
            "enable_route_propagation": False,
            "vpn_gateway_id": self.gateway.id,
            "customer_gateway_id": customer.id,
            "bgp_config_ipv4": bgp,
        }
        answer = self.api.create_connection(**{**arguments, **options})
        self.assertEqual(answer.pre_shared_key, "", "keys are read from the secret manager only")
        self.addCleanup(self.gone, self.api.delete_connection, connection_id=answer.connection.id)
        return answer.connection

    @staticmethod
    def gone(delete, **arguments):
        """Deletes what a test may have deleted already."""
        try:
            delete(**arguments)
        except ScalewayException as error:
            if error.status_code != 404:
                raise

    def fails(self, status, kind, call, **arguments):
        """The parsed body of the error that `call` must end in."""
        with self.assertRaises(ScalewayException) as raised:
            call(**arguments)
        body = raised.exception.response.json()
        self.assertEqual((raised.exception.status_code, body["type"]), (status, kind), body)
        self.assertTrue(body["message"])
        headers = raised.exception.response.headers
        self.assertEqual(headers["Content-Type"], "application/json")
        uuid.UUID(headers["X-Request-Id"])
        return body

    # The network

    def test_vpc_and_private_network(self):
        vpc = self.vpc_api.get_vpc(vpc_id=self.vpc.id)
        self.assertEqual((vpc.name, vpc.tags, vpc.private_network_count), (RUN, ["a", "b c"], 1))
        self.assertTrue(vpc.routing_enabled)
        self.assertEqual(vpc.project_id, self.client.default_project_id)
        self.assertEqual(vpc.organization_id, self.client.default_organization_id)
        self.assertIn(self.vpc.id, [found.id for found in self.vpc_api.list_vp_cs_all(name=RUN.upper())])
        renamed = self.vpc_api.update_vpc(vpc_id=self.vpc.id, tags=["c"])
        self.assertEqual((renamed.name, renamed.tags), (RUN, ["c"]))

        network = self.vpc_api.get_private_network(private_network_id=self.network.id)
        self.assertEqual([subnet.subnet for subnet in network.subnets][0], "10.77.0.0/24")
        self.assertRegex([subnet.subnet for subnet in network.subnets][1], r"^fd.*::/64$")
        listed = self.vpc_api.list_private_networks(vpc_id=self.vpc.id)
        self.assertEqual((listed.total_count, listed.private_networks[0].id), (1, self.network.id))

    def test_addresses(self):
        self.assertTrue(self.gateway.public_config.ipam_ipv4_id and self.gateway.public_config.ipam_ipv6_id)
        public = self.ipam.get_ip(ip_id=self.gateway.public_config.ipam_ipv4_id)
        self.assertRegex(public.address, r"/32$")
        self.assertEqual((public.resource.id, public.resource.type_), (self.gateway.id, "vpn_gateway"))
        private = self.ipam.get_ip(ip_id=self.gateway.ipam_private_ipv4_id)
        self.assertRegex(private.address, r"^10\.77\.0\.\d+/24$")
        attached = self.ipam.list_i_ps_all(resource_id=self.gateway.id, attached=True)
        self.assertEqual(len(attached), 4)

        booked = self.ipam.book_ip(source=Source(private_network_id=self.network.id), is_ipv6=False, tags=["t"])
        self.addCleanup(self.ipam.release_ip, ip_id=booked.id)
        self.assertEqual(booked.source.subnet_id, self.network.subnets[0].id)
        self.assertIsNone(booked.resource)
        self.assertEqual(self.ipam.update_ip(ip_id=booked.id, tags=["u"]).tags, ["u"])

    # Gateways

    def test_gateway(self):
        self.assertEqual(self.created_status, VpnGatewayStatus.PROVISIONING)
        # Connections of other tests, just deleted, may still be being removed from its configuration.
        settled = self.api.wait_for_vpn_gateway(gateway_id=self.gateway.id, options=waiting())
        state = self.extension.call("GET", f"/regions/{self.region}/vpn-gateways/{self.gateway.id}/state").json()
        self.assertEqual(state["status"], settled.status)
        if settled.status != VpnGatewayStatus.ACTIVE:
            # A service without a node says so.
            self.assertEqual((settled.status, state["reason"]["code"]), (VpnGatewayStatus.FAILED, "no_node"))
        types = self.api.list_vpn_gateway_types()
        self.assertIn("VGW-S", [kind.name for kind in types.gateway_types])
        listed = self.api.list_vpn_gateways(
            name=RUN,
            tags=["gw"],
            gateway_types=["VGW-S"],
            private_network_ids=[self.network.id],
            order_by=ListVpnGatewaysRequestOrderBy.STATUS_DESC,
        )
        self.assertIn(self.gateway.id, [gateway.id for gateway in listed.gateways])
        self.assertEqual(self.api.list_vpn_gateways_all(name=RUN, page_size=1)[0].zone, self.gateway.zone)
        renamed = self.api.update_vpn_gateway(gateway_id=settled.id, name=f"{RUN}-renamed")
        self.assertEqual(renamed.name, f"{RUN}-renamed")
        self.assertGreater(renamed.updated_at, renamed.created_at)

    def test_gateway_with_one_public_address(self):
        single = CreateVpnGatewayRequestPublicTunnelConfig(single_ipv4_tunnel=CreateVpnGatewayRequestSingleIpTunnel())
        gateway = self.new_gateway(f"{RUN}-single", public_tunnel_config=single)
        self.addCleanup(self.delete_gateway, gateway.id)
        self.assertTrue(gateway.public_config.ipam_ipv4_id)
        self.assertIsNone(gateway.public_config.ipam_ipv6_id)

    # Customer gateways and policies

    def test_customer_gateway(self):
        gateway = self.customer("198.51.100.20/32", asn=4200000001)
        self.assertEqual((gateway.public_ipv4, gateway.public_ipv6), ("198.51.100.20", None))
        self.assertEqual((gateway.asn, gateway.connection_ids), (4200000001, []))
        updated = self.api.update_customer_gateway(gateway_id=gateway.id, ipv6_public="2001:db8:ffff::20", asn=65020)
        self.assertEqual((updated.public_ipv6, updated.asn), ("2001:db8:ffff::20", 65020))
        self.assertEqual(self.api.get_customer_gateway(gateway_id=gateway.id), updated)
        self.assertIn(gateway.id, [found.id for found in self.api.list_customer_gateways_all(name=RUN)])

    def test_routing_policy(self):
        policy = self.policy()
        self.assertEqual((policy.prefix_filter_in, policy.prefix_filter_out), (["10.99.0.0/16"], ["10.77.0.0/24"]))
        updated = self.api.update_routing_policy(
            routing_policy_id=policy.id, prefix_filter_in=["10.99.0.0/16", "10.98.0.0/24"]
        )
        self.assertEqual(updated.prefix_filter_in, ["10.99.0.0/16", "10.98.0.0/24"])
        self.assertEqual(updated.prefix_filter_out, ["10.77.0.0/24"])
        self.assertEqual(self.api.get_routing_policy(routing_policy_id=policy.id), updated)
        self.assertIn(policy.id, [found.id for found in self.api.list_routing_policies_all(name=RUN)])

    # Connections

    def test_connection(self):
        customer, policy = self.customer("198.51.100.30"), self.policy()
        connection = self.connection(customer, policy)
        self.assertEqual(connection.ikev2_ciphers, [CIPHER])
        self.assertEqual(connection.esp_ciphers, [ESP_CIPHER])
        self.assertEqual(connection.bgp_session_ipv4.routing_policy_id, policy.id)
        self.assertRegex(connection.bgp_session_ipv4.private_ip, r"^169\.254\.\d+\.\d+/30$")
        self.assertIsNone(connection.bgp_session_ipv6)
        self.assertEqual(connection.bgp_status_ipv4, BgpSessionStatus.DOWN)
        self.assertEqual(connection.bgp_status_ipv6, BgpSessionStatus.DISABLED)
        self.assertEqual(connection.tunnel_status, TunnelStatus.DOWN)
        self.assertIn(connection.status, ("ready", "down"))
        self.assertIn(connection.id, self.api.get_vpn_gateway(gateway_id=self.gateway.id).connection_ids)
        self.assertEqual(self.api.get_customer_gateway(gateway_id=customer.id).connection_ids, [connection.id])
        listed = self.api.list_connections(
            vpn_gateway_ids=[self.gateway.id],
            customer_gateway_ids=[customer.id],
            routing_policy_ids=[policy.id],
            is_ipv6=False,
            route_propagation_enabled=False,
        )
        self.assertEqual([found.id for found in listed.connections], [connection.id])

        self.assertTrue(self.api.enable_route_propagation(connection_id=connection.id).route_propagation_enabled)
        self.assertTrue(self.api.get_connection(connection_id=connection.id).route_propagation_enabled)
        self.assertFalse(self.api.disable_route_propagation(connection_id=connection.id).route_propagation_enabled)

        updated = self.api.update_connection(
            connection_id=connection.id,
            name=f"{RUN}-2",
            initiation_policy=ConnectionInitiationPolicy.UNKNOWN_INITIATION_POLICY,
        )
        self.assertEqual((updated.name, updated.ikev2_ciphers), (f"{RUN}-2", [CIPHER]))
        self.assertEqual(updated.initiation_policy, ConnectionInitiationPolicy.CUSTOMER_GATEWAY)

        detached = self.api.detach_routing_policy(connection_id=connection.id, routing_policy_v4=policy.id)
        self.assertFalse(detached.bgp_session_ipv4.routing_policy_id)
        attached = self.api.set_routing_policy(connection_id=connection.id, routing_policy_v4=policy.id)
        self.assertEqual(attached.bgp_session_ipv4.routing_policy_id, policy.id)

        self.api.delete_connection(connection_id=connection.id)
        body = self.fails(404, "not_found", self.api.get_connection, connection_id=connection.id)
        self.assertEqual((body["resource"], body["resource_id"]), ("connection", connection.id))
        self.assertNotIn(connection.id, self.api.get_vpn_gateway(gateway_id=self.gateway.id).connection_ids)
        self.fails(404, "not_found", self.secrets.get_secret, secret_id=connection.secret_id)

    def test_generated_key(self):
        connection = self.connection(self.customer("198.51.100.31"), self.policy())
        self.assertEqual(connection.secret_revision, 1)
        secret = self.secrets.get_secret(secret_id=connection.secret_id)
        self.assertEqual((secret.name, secret.managed), (f"s2s-vpn-{connection.id}", True))
        self.assertEqual(secret.used_by, [Product.S2S_VPN])
        accessed = self.secrets.access_secret_version(
            secret_id=connection.secret_id, revision=str(connection.secret_revision)
        )
        key = base64.b64decode(accessed.data, validate=True)
        self.assertGreaterEqual(len(key), 32)
        body = self.fails(
            412,
            "precondition_failed",
            self.secrets.disable_secret_version,
            secret_id=connection.secret_id,
            revision=str(connection.secret_revision),
        )
        self.assertEqual(body["precondition"], "resource_still_in_use")

    def test_own_secret(self):
        key = b"an own key, thirty-two octets and more"
        secret = self.secrets.create_secret(name=RUN, protected=False, type_=SecretType.OPAQUE)
        self.addCleanup(self.secrets.delete_secret, secret_id=secret.id)
        version = self.secrets.create_secret_version(
            secret_id=secret.id, data=base64.b64encode(key).decode(), data_crc32=zlib.crc32(key)
        )
        self.assertEqual((version.revision, version.latest), (1, True))
        self.assertEqual(version.status, SecretVersionStatus.ENABLED)
        connection = self.connection(
            self.customer("198.51.100.32"), self.policy(), secret=CreateConnectionRequestSecret(id=secret.id)
        )
        self.assertEqual((connection.secret_id, connection.secret_revision), (secret.id, 1))
        accessed = self.secrets.access_secret_version(secret_id=secret.id, revision="latest_enabled")
        self.assertEqual((base64.b64decode(accessed.data), accessed.data_crc32), (key, zlib.crc32(key)))
        self.fails(412, "precondition_failed", self.secrets.delete_secret, secret_id=secret.id)
        self.assertIn(secret.id, [found.id for found in self.secrets.list_secrets_all(scheduled_for_deletion=False)])
        versions = self.secrets.list_secret_versions(secret_id=secret.id)
        self.assertEqual((versions.total_count, versions.versions[0].revision), (1, 1))

    def test_keys_change(self):
        connection = self.connection(self.customer("198.51.100.33"), self.policy())
        before = self.secrets.access_secret_version(secret_id=connection.secret_id, revision="1").data
        renewed = self.api.renew_connection_psk(connection_id=connection.id, generate_revision=True)
        self.assertEqual(renewed.connection.secret_revision, 2)
        self.assertEqual(renewed.pre_shared_key, "")
        after = self.secrets.access_secret_version(secret_id=connection.secret_id, revision="2").data
        self.assertNotEqual(before, after)
        changed = self.api.change_connection_psk(
            connection_id=connection.id,
            secret=ChangeConnectionPskRequestSecret(id=connection.secret_id, revision=1),
        )
        self.assertEqual(changed.connection.secret_revision, 1)

    def test_state_and_device_configuration(self):
        connection = self.connection(self.customer("198.51.100.34"), self.policy())
        path = f"/regions/{self.region}/connections/{connection.id}"
        state = self.extension.call("GET", f"{path}/state").json()
        self.assertIn(state["reason"]["code"], ("awaiting_device", "gateway_not_ready", "peer_silent", "config_pending"))
        self.assertTrue(state["reason"]["remedy"])
        formats = self.extension.call("GET", f"{path}/device-configuration").json()["formats"]
        for name in [form["name"] for form in formats]:
            answer = self.extension.call("GET", f"{path}/device-configuration?format={name}")
            self.assertTrue(answer.headers["Content-Type"].startswith("text/plain"))
            self.assertIn(connection.bgp_session_ipv4.peer_private_ip.split("/")[0], answer.text)
        self.assertIn("strongswan-bird", [form["name"] for form in formats])

    # Lists

    def test_all_pages(self):
        policies = [self.policy(is_ipv6=index == 1).id for index in range(5)]
        customers = [self.customer(f"198.51.100.{40 + index}") for index in range(5)]
        connections = [self.connection(customer).id for customer in customers]
        for listed, made in (
            (self.api.list_routing_policies_all(name=RUN, page_size=2), policies),
            (self.api.list_routing_policies_all(name=RUN, ipv6=True), policies[1:2]),
            (self.api.list_routing_policies_all(name=RUN, ipv6=False, page_size=4), policies[:1] + policies[2:]),
            (self.api.list_customer_gateways_all(name=RUN, page_size=2), [customer.id for customer in customers]),
            (self.api.list_connections_all(name=RUN, page_size=2), connections),
            (self.api.list_connections_all(name=RUN, page_size=5, is_ipv6=False, statuses=["down"]), connections),
            (self.api.list_connections_all(name=RUN, is_ipv6=True), []),
        ):
            self.assertEqual([item.id for item in listed], made)
        types = self.api.list_vpn_gateway_types_all(page_size=1)
        self.assertEqual(len(types), self.api.list_vpn_gateway_types().total_count)

    # Errors

    def test_invalid_arguments_all_at_once(self):
        body = self.fails(
            400,
            "invalid_arguments",
            self.api.create_customer_gateway,
            name="x" * 256,
            asn=0,
            ipv4_public="198.51.100.0/24",
        )
        errors = {detail["argument_name"]: detail["reason"] for detail in body["details"]}
        self.assertEqual(errors, {"name": "constraint", "asn": "constraint", "ipv4_public": "format"})
        self.assertTrue(all(detail["help_message"] for detail in body["details"]))
        body = self.fails(400, "invalid_arguments", self.api.list_connections, page_size=1001)
        self.assertEqual([detail["argument_name"] for detail in body["details"]], ["page_size"])
        body = self.fails(400, "invalid_arguments", self.api.list_connections, region="xx-xxx")
        self.assertEqual([detail["argument_name"] for detail in body["details"]], ["region"])

    def test_denied_authentication(self):
        stranger = Client.from_env()
        stranger.secret_key = str(uuid.uuid4())
        body = self.fails(401, "denied_authentication", S2SVpnV1Alpha1API(stranger).list_connections)
        self.assertEqual((body["method"], body["reason"]), ("api_key", "not_found"))

    def test_not_found(self):
        missing = str(uuid.uuid4())
        for call, argument, resource in (
            (self.api.get_vpn_gateway, "gateway_id", "vpn_gateway"),
            (self.api.get_connection, "connection_id", "connection"),
            (self.api.get_customer_gateway, "gateway_id", "customer_gateway"),
            (self.api.get_routing_policy, "routing_policy_id", "routing_policy"),
            (self.vpc_api.get_vpc, "vpc_id", "vpc"),
            (self.vpc_api.get_private_network, "private_network_id", "private_network"),
            (self.ipam.get_ip, "ip_id", "ip"),
            (self.secrets.get_secret, "secret_id", "secret"),
        ):
            for name in (missing, "no-uuid"):
                body = self.fails(404, "not_found", call, **{argument: name})
                self.assertEqual((body["resource"], body["resource_id"]), (resource, name))

    def test_precondition_failed(self):
        customer, policy = self.customer("198.51.100.35"), self.policy()
        self.connection(customer, policy)
        # With a connection a gateway can't be deleted, once its own configuration has settled.
        self.api.wait_for_vpn_gateway(gateway_id=self.gateway.id, options=waiting())
        for call, arguments in (
            (self.api.delete_vpn_gateway, {"gateway_id": self.gateway.id}),
            (self.api.delete_customer_gateway, {"gateway_id": customer.id}),
            (self.api.delete_routing_policy, {"routing_policy_id": policy.id}),
            (self.vpc_api.delete_private_network, {"private_network_id": self.network.id}),
            (self.vpc_api.delete_vpc, {"vpc_id": self.vpc.id}),
        ):
            body = self.fails(412, "precondition_failed", call, **arguments)
            self.assertEqual(body["precondition"], "resource_still_in_use")
            self.assertTrue(body["help_message"])

    def test_transient_state(self):
        """The service is another one, without a node; it is thrown away, so that nothing is deleted there."""
        other = Client.from_env()
        other.api_url, other.default_project_id = os.environ["NODELESS_API_URL"], os.environ["NODELESS_PROJECT_ID"]
        other.access_key, other.secret_key = os.environ["NODELESS_ACCESS_KEY"], os.environ["NODELESS_SECRET_KEY"]
        networks, vpn = VpcV2API(other), S2SVpnV1Alpha1API(other)
        vpc = networks.create_vpc(name=RUN, enable_routing=True, enable_transitivity=False)
        network = networks.create_private_network(name=RUN, vpc_id=vpc.id, default_route_propagation_enabled=False)
        gateway = vpn.create_vpn_gateway(name=RUN, gateway_type="VGW-S", private_network_id=network.id)
        body = self.fails(409, "transient_state", vpn.delete_vpn_gateway, gateway_id=gateway.id)
        self.assertEqual((body["resource_id"], body["current_state"]), (gateway.id, "provisioning"))

    def test_already_exists(self):
        customer, policy = self.customer("198.51.100.36"), self.policy()
        connection = self.connection(customer, policy)
        with self.assertRaises(ScalewayException) as raised:
            self.connection(customer, policy)
        body = raised.exception.response.json()
        self.assertEqual((raised.exception.status_code, body["type"]), (409, "already_exists"), body)
        self.assertEqual((body["resource"], body["resource_id"]), ("connection", connection.id))

    def test_quotas_exceeded(self):
        limit = next(
            kind.allowed_connections for kind in self.api.list_vpn_gateway_types().gateway_types if kind.name == "VGW-S"
        )
        with self.assertRaises(ScalewayException) as raised:
            for index in range(limit + 1):
                self.connection(self.customer(f"198.51.100.{100 + index}"))
        body = raised.exception.response.json()
        self.assertEqual((raised.exception.status_code, body["type"]), (403, "quotas_exceeded"), body)
        self.assertEqual(body["details"][0]["quota"], limit)
        self.assertEqual(len(self.api.get_vpn_gateway(gateway_id=self.gateway.id).connection_ids), limit)

    def test_locked(self):
        connection = self.connection(self.customer("198.51.100.37"), self.policy())
        path = f"/connections/{connection.id}"
        self.extension.call("POST", f"{path}/lock", {"reason": "a test"})
        try:
            self.assertEqual(self.api.get_connection(connection_id=connection.id).status, "locked")
            for call in (self.api.enable_route_propagation, self.api.renew_connection_psk, self.api.delete_connection):
                body = self.fails(423, "locked", call, connection_id=connection.id)
                self.assertEqual((body["resource"], body["resource_id"]), ("connection", connection.id))
        finally:
            self.extension.call("POST", f"{path}/unlock")
        self.assertNotEqual(self.api.get_connection(connection_id=connection.id).status, "locked")

    def test_permissions_denied(self):
        key = self.extension.call("POST", "/operator/api-keys", {"role": "support", "description": RUN}).json()
        support = Client.from_env()
        support.access_key, support.secret_key = key["access_key"], key["secret_key"]
        api = S2SVpnV1Alpha1API(support)
        self.assertEqual(api.get_vpn_gateway(gateway_id=self.gateway.id).id, self.gateway.id)
        for call, arguments in (
            (api.update_vpn_gateway, {"gateway_id": self.gateway.id, "name": RUN}),
            (api.create_customer_gateway, {"name": RUN, "asn": 65010, "ipv4_public": "198.51.100.38"}),
            (VpcV2API(support).create_vpc, {"name": RUN, "enable_routing": True, "enable_transitivity": False}),
        ):
            body = self.fails(403, "permissions_denied", call, **arguments)
            self.assertEqual([sorted(detail) for detail in body["details"]], [["action", "resource"]])

    def test_too_many_requests(self):
        """The service is another one, which takes a request per second of a key."""
        limited = Client.from_env()
        limited.api_url = os.environ["LIMITED_API_URL"]
        limited.access_key, limited.secret_key = os.environ["LIMITED_ACCESS_KEY"], os.environ["LIMITED_SECRET_KEY"]

        def hundred():
            for _ in range(100):
                S2SVpnV1Alpha1API(limited).list_connections()

        body = self.fails(429, "too_many_requests", hundred)
        self.assertEqual(body["limit"], {"quota": 1, "window_seconds": 1})
        self.assertGreaterEqual(body["reset_seconds"], 1)
        self.assertTrue(body["help_message"])

    def test_unavailable_and_internal(self):
        """The service is another one, whose disk is full, and which cannot read what it once wrote of a VPC."""
        broken = Client.from_env()
        broken.api_url = os.environ["BROKEN_API_URL"]
        broken.access_key, broken.secret_key = os.environ["BROKEN_ACCESS_KEY"], os.environ["BROKEN_SECRET_KEY"]
        # Lists are asked for by organization, and this one has another.
        broken.default_project_id, broken.default_organization_id = os.environ["BROKEN_PROJECT_ID"], None
        vpn = S2SVpnV1Alpha1API(broken)
        body = self.fails(503, "unavailable", vpn.create_customer_gateway, name=RUN, asn=65010, ipv4_public="198.51.100.39")
        self.assertIn("disk", body["help_message"])
        self.assertEqual(vpn.list_customer_gateways().total_count, 0)
        body = self.fails(500, "internal", VpcV2API(broken).list_vp_cs)
        # What is wrong is for the operator's log.
        self.assertEqual(sorted(body), ["message", "type"])

    def test_method_not_allowed(self):
        """No call of the SDK asks for it; its own request and its own parsing do."""

        def put():
            self.api._throw_on_error(self.api._request("PUT", f"/s2s-vpn/v1alpha1/regions/{self.region}/connections"))

        body = self.fails(405, "method_not_allowed", put)
        self.assertEqual(sorted(body), ["message", "type"])

    def test_out_of_stock(self):
        small = self.vpc_api.create_private_network(
            name=RUN, vpc_id=self.vpc.id, subnets=["10.83.0.0/29"], default_route_propagation_enabled=False
        )
        self.addCleanup(self.vpc_api.delete_private_network, private_network_id=small.id)
        source = Source(private_network_id=small.id)
        for address in range(2, 7):
            booked = self.ipam.book_ip(source=source, is_ipv6=False)
            self.addCleanup(self.ipam.release_ip, ip_id=booked.id)
            self.assertEqual(booked.address, f"10.83.0.{address}/29")
        body = self.fails(503, "out_of_stock", self.ipam.book_ip, source=source, is_ipv6=False)
        self.assertTrue(body["resource"])

    def test_not_implemented(self):
        missing = "0ae4cf90-0405-4318-a169-e45b3bef7676"
        ephemeral = EphemeralPolicy(action=EphemeralPolicyAction.DELETE)
        for call, arguments in (
            (self.secrets.browse_secrets, {"prefix": "/"}),
            (self.secrets.restore_secret, {"secret_id": missing}),
            (self.secrets.restore_secret_version, {"secret_id": missing, "revision": "1"}),
            (self.vpc_api.list_vpc_connectors, {}),
            (self.vpc_api.list_ingress_rules, {}),
            (self.secrets.create_secret, {"name": RUN, "protected": False, "ephemeral_policy": ephemeral}),
        ):
            with self.subTest(call.__name__):
                self.fails(501, "not_implemented", call, **arguments)


def waiting():
    """Polls every second, the least that the SDK allows."""
    return WaitForOptions(timeout=90, min_delay=1, max_delay=1)


if __name__ == "__main__":
    unittest.main()
