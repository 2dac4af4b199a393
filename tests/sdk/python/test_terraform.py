"""What Terraform's provider sends, replayed without any SDK: create, refresh, update, import, destroy.

The bodies are those that the provider sends (the keys in its order, its nulls and its `unknown_*` values), and the answers are compared by
their keys in wire order, so that nothing stands between the test and the bytes.
"""

import base64
import concurrent.futures
import json
import time
import unittest

from provider import ORGANIZATION, PROJECT, REGION, RUN, VPC, ZONE, Transport

S2S = f"/s2s-vpn/v1alpha1/regions/{REGION}"
IPAM = f"/ipam/v1/regions/{REGION}"
SECRET = f"/secret-manager/v1beta1/regions/{REGION}"
CIPHER = {"encryption": "aes256", "integrity": "sha256", "dh_group": "modp2048"}
TRANSIENT = ("configuring", "provisioning", "deprovisioning")


class Terraform(Transport):
    """Gateways, connections and what is around them."""

    def settled(self, gateway_id):
        """The provider polls every 5 s; the sequence is the same at a quicker pace."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            answer = self.call(200, "GET", f"{S2S}/vpn-gateways/{gateway_id}")
            if answer["status"] not in TRANSIENT:
                return answer
            time.sleep(0.1)
        self.fail(f"gateway {gateway_id} stayed transient")

    def network(self):
        vpc = self.call(
            200,
            "POST",
            f"{VPC}/vpcs",
            {"name": RUN, "project_id": PROJECT, "tags": [], "enable_routing": False, "enable_transitivity": False},
        )
        self.addCleanup(self.gone, f"{VPC}/vpcs/{vpc['id']}")
        self.keys(
            {name: None for name in vpc if not name.endswith("_integration_enabled")},
            "created_at custom_routes_propagation_enabled id is_default name organization_id private_network_count project_id"
            " region routing_enabled tags transitivity_enabled updated_at",
        )
        self.assertEqual((vpc["routing_enabled"], vpc["tags"], vpc["created_at"]), (True, [], vpc["updated_at"]))
        self.assertEqual(self.call(200, "GET", f"{VPC}/vpcs/{vpc['id']}"), vpc)
        network = self.call(
            200,
            "POST",
            f"{VPC}/private-networks",
            {
                "name": RUN,
                "project_id": PROJECT,
                "tags": [],
                "subnets": ["10.82.0.0/24"],
                "vpc_id": vpc["id"],
                "default_route_propagation_enabled": False,
            },
        )
        self.addCleanup(self.gone, f"{VPC}/private-networks/{network['id']}")
        self.keys(
            network,
            "created_at default_route_propagation_enabled dhcp_enabled id name organization_id project_id region subnets tags"
            " updated_at vpc_id",
        )
        self.keys(network["subnets"][0], "created_at id private_network_id project_id region subnet updated_at vpc_id")
        self.assertEqual(network["subnets"][0]["subnet"], "10.82.0.0/24")
        self.assertEqual(self.call(200, "GET", f"{VPC}/private-networks/{network['id']}"), network)
        return vpc, network

    def gone(self, path):
        """Cleans up what a failed test left."""
        if "/vpn-gateways/" in path and self.exchange("GET", path)[0] == 200:
            self.settled(path.rsplit("/", 1)[1])
        status, _, text = self.exchange("DELETE", path)
        self.assertIn(status, (200, 204, 404), text)
        deadline = time.monotonic() + 90
        while self.exchange("GET", path)[0] != 404 and time.monotonic() < deadline:
            time.sleep(0.1)

    def gateway(self, network):
        created = self.call(
            200,
            "POST",
            f"{S2S}/vpn-gateways",
            {
                "project_id": PROJECT,
                "name": RUN,
                "tags": [],
                "gateway_type": "VGW-S",
                "private_network_id": network["id"],
                "zone": ZONE,
            },
        )
        self.addCleanup(self.gone, f"{S2S}/vpn-gateways/{created['id']}")
        self.keys(
            created,
            "asn connection_ids created_at gateway_type id ipam_private_ipv4_id ipam_private_ipv6_id name organization_id"
            " private_network_id project_id public_config region status tags updated_at zone",
        )
        self.keys(created["public_config"], "ipam_ipv4_id ipam_ipv6_id")
        self.assertEqual((created["status"], created["connection_ids"]), ("provisioning", []))
        self.assertEqual((created["updated_at"], created["zone"]), (created["created_at"], ZONE))
        gateway = self.settled(created["id"])
        self.assertGreater(gateway["updated_at"], created["updated_at"])
        return gateway

    def test_apply_refresh_update_import_destroy(self):
        vpc, network = self.network()
        gateway = self.gateway(network)
        gateway_path = f"{S2S}/vpn-gateways/{gateway['id']}"

        customer = self.call(
            200,
            "POST",
            f"{S2S}/customer-gateways",
            {"project_id": PROJECT, "name": RUN, "tags": [], "ipv4_public": "51.15.224.226/32", "asn": 65000},
        )
        customer_path = f"{S2S}/customer-gateways/{customer['id']}"
        self.addCleanup(self.gone, customer_path)
        self.keys(
            customer,
            "asn connection_ids created_at id name organization_id project_id public_ipv4 region tags updated_at",
        )
        self.assertEqual((customer["public_ipv4"], customer["organization_id"]), ("51.15.224.226", ORGANIZATION))
        policy = self.call(
            200,
            "POST",
            f"{S2S}/routing-policies",
            {
                "project_id": PROJECT,
                "name": RUN,
                "tags": [],
                "is_ipv6": False,
                "prefix_filter_in": ["10.0.1.0/24"],
                "prefix_filter_out": ["10.0.0.0/24"],
            },
        )
        policy_path = f"{S2S}/routing-policies/{policy['id']}"
        self.addCleanup(self.gone, policy_path)
        self.keys(
            policy,
            "created_at id is_ipv6 name organization_id prefix_filter_in prefix_filter_out project_id region tags updated_at",
        )
        for path, created in ((customer_path, customer), (policy_path, policy)):
            self.assertEqual(self.call(200, "GET", path), created)

        answer = self.call(
            200,
            "POST",
            f"{S2S}/connections",
            {
                "project_id": PROJECT,
                "name": RUN,
                "tags": [],
                "is_ipv6": False,
                "initiation_policy": "customer_gateway",
                "ikev2_ciphers": [CIPHER],
                "esp_ciphers": [CIPHER],
                "enable_route_propagation": True,
                "vpn_gateway_id": gateway["id"],
                "customer_gateway_id": customer["id"],
                "bgp_config_ipv4": {
                    "routing_policy_id": policy["id"],
                    "private_ip": "169.254.0.1/30",
                    "peer_private_ip": "169.254.0.2/30",
                },
            },
        )
        self.keys(answer, "connection pre_shared_key")
        self.assertEqual(answer["pre_shared_key"], "")
        connection = answer["connection"]
        path = f"{S2S}/connections/{connection['id']}"
        self.addCleanup(self.gone, path)
        self.keys(
            connection,
            "bgp_session_ipv4 bgp_status_ipv4 bgp_status_ipv6 created_at customer_gateway_id esp_ciphers id ikev2_ciphers"
            " initiation_policy is_ipv6 name organization_id project_id region route_propagation_enabled secret_id"
            " secret_revision status tags tunnel_status tunnel_status_ipv4 tunnel_status_ipv6 updated_at vpn_gateway_id",
        )
        self.assertEqual(
            list(connection["bgp_session_ipv4"].items()),
            [
                ("peer_private_ip", "169.254.0.2/30"),
                ("private_ip", "169.254.0.1/30"),
                ("routing_policy_id", policy["id"]),
            ],
        )
        self.assertEqual(list(connection["esp_ciphers"][0].items()), sorted(CIPHER.items()))
        self.assertEqual((connection["secret_revision"], connection["updated_at"]), (1, connection["created_at"]))
        self.assertEqual(self.call(200, "GET", path), connection)
        self.assertEqual(self.call(200, "GET", gateway_path)["connection_ids"], [connection["id"]])
        after = self.call(200, "GET", customer_path)
        self.assertEqual((after["connection_ids"], after["updated_at"]), ([connection["id"]], customer["updated_at"]))

        # Refresh: one GET for each resource, the gateway's until it has settled; a second plan must see the same.
        for _ in range(2):
            self.settled(gateway["id"])
            for resource, known in ((path, connection), (policy_path, policy), (customer_path, after)):
                read = self.call(200, "GET", resource)
                self.assertEqual({**read, "status": ""}, {**known, "status": ""})

        # The data source of the key.
        version = f"{SECRET}/secrets/{connection['secret_id']}/versions/{connection['secret_revision']}"
        accessed = self.call(200, "GET", f"{version}/access")
        self.keys(accessed, "secret_id revision data data_crc32 type")
        self.assertTrue(base64.b64decode(accessed["data"], validate=True))
        self.keys(
            self.call(200, "GET", version),
            "revision secret_id status created_at updated_at deleted_at description latest ephemeral_properties"
            " deletion_requested_at region",
        )

        # Update: only what changed, with the provider's placeholders for what did not.
        changed = self.call(
            200,
            "PATCH",
            path,
            {"name": "n2", "initiation_policy": "unknown_initiation_policy", "ikev2_ciphers": None, "esp_ciphers": None},
        )
        self.assertEqual(
            {**changed, "updated_at": "", "status": ""},
            {**connection, "name": "n2", "updated_at": "", "status": ""},
        )
        self.assertGreater(changed["updated_at"], connection["updated_at"])
        self.assertEqual(self.call(200, "GET", path)["name"], "n2")
        self.settled(gateway["id"])
        self.assertEqual(self.call(200, "PATCH", gateway_path, {"name": "n2", "tags": ["b", "a"]})["tags"], ["b", "a"])
        self.assertEqual(self.settled(gateway["id"])["name"], "n2")
        changed = self.call(200, "PATCH", customer_path, {"asn": 65001, "ipv6_public": "2001:db8:fffd::1/128"})
        self.assertEqual((changed["asn"], changed["public_ipv4"], changed["public_ipv6"]), (65001, "51.15.224.226", "2001:db8:fffd::1"))
        order = ["10.0.3.0/24", "10.0.1.0/24"]
        self.assertEqual(self.call(200, "PATCH", policy_path, {"prefix_filter_in": order})["prefix_filter_in"], order)
        changed = self.call(
            200,
            "PATCH",
            f"{VPC}/private-networks/{network['id']}",
            {"name": "n2", "tags": ["t"], "default_route_propagation_enabled": False},
        )
        self.assertEqual((changed["name"], changed["subnets"]), ("n2", network["subnets"]))

        # The actions: GET the connection, wait for its gateway, POST.
        for action, wanted in (("disable", False), ("enable", True)):
            self.call(200, "GET", path)
            self.settled(gateway["id"])
            answer = self.call(200, "POST", f"{path}/{action}-route-propagation", {})
            self.assertEqual(answer["route_propagation_enabled"], wanted)

        # Import is by id; data sources look up by name, which must be there exactly.
        for collection, key, wanted in (
            ("vpn-gateways", "gateways", gateway["id"]),
            ("connections", "connections", connection["id"]),
        ):
            found = self.call(200, "GET", f"{S2S}/{collection}?name=n2&order_by=created_at_asc")
            self.keys(found, f"{key} total_count")
            self.assertIn((wanted, "n2"), [(item["id"], item["name"]) for item in found[key]])
            self.assertEqual(self.call(200, "GET", f"{S2S}/{collection}/{wanted}")["id"], wanted)
        for collection, key, wanted in (
            ("customer-gateways", "gateways", customer),
            ("routing-policies", "routing_policies", policy),
        ):
            found = self.call(200, "GET", f"{S2S}/{collection}?name={RUN}&order_by=created_at_asc&project_id={PROJECT}")
            self.keys(found, f"{key} total_count")
            self.assertEqual([item["id"] for item in found[key] if item["name"] == RUN], [wanted["id"]])
            imported = self.call(200, "GET", f"{S2S}/{collection}/{wanted['id']}")
            self.assertIn(imported, found[key])

        # Destroy: the connection without waiting, then what it used, at once; the gateway when it has settled.
        self.call(204, "DELETE", path)
        self.missing(path, "connection")
        self.call(204, "DELETE", policy_path)
        self.call(204, "DELETE", customer_path)
        self.missing(policy_path, "routing_policy")
        self.missing(customer_path, "customer_gateway")
        self.assertEqual(self.settled(gateway["id"])["connection_ids"], [])
        deleted = self.call(200, "DELETE", gateway_path)
        self.assertEqual((deleted["id"], deleted["status"]), (gateway["id"], "deprovisioning"))
        deadline = time.monotonic() + 90
        while self.exchange("GET", gateway_path)[0] == 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.missing(gateway_path, "vpn_gateway")
        self.call(204, "DELETE", f"{VPC}/private-networks/{network['id']}")
        self.call(204, "DELETE", f"{VPC}/vpcs/{vpc['id']}")
        self.missing(f"{VPC}/private-networks/{network['id']}", "private_network")
        self.missing(f"{VPC}/vpcs/{vpc['id']}", "vpc")

    def test_routes_and_access_lists(self):
        """`scaleway_vpc_route`, `scaleway_vpc_acl`, and `scaleway_ipam_ip` with a custom resource: create, refresh, update, destroy."""
        vpc, network = self.network()
        source = {"private_network_id": network["id"]}
        resource = {"mac_address": "bc:24:11:74:d0:5b", "name": None}
        body = {"project_id": PROJECT, "source": source, "is_ipv6": False, "tags": [], "resource": resource}
        ip = self.call(200, "POST", f"{IPAM}/ips", body)
        ip_path = f"{IPAM}/ips/{ip['id']}"
        self.addCleanup(self.gone, ip_path)
        self.assertEqual(self.call(200, "GET", ip_path), ip)
        shown = {"id": ip["id"], "mac_address": "BC:24:11:74:D0:5B", "name": None, "type": "custom"}
        self.assertEqual(ip["resource"], shown)
        self.call(200, "GET", f"{VPC}/private-networks/{network['id']}")

        body = {"description": "d", "tags": ["tf"], "vpc_id": vpc["id"], "destination": "10.99.0.0/24"}
        route = self.call(200, "POST", f"{VPC}/routes", {**body, "nexthop_resource_id": ip["id"]})
        path = f"{VPC}/routes/{route['id']}"
        self.addCleanup(self.gone, path)
        self.keys(
            route,
            "created_at description destination id is_read_only nexthop_private_network_id nexthop_resource_id"
            " nexthop_vpc_connector_id region tags type updated_at vpc_id",
        )
        self.assertEqual({name: route[name] for name in body}, body)
        self.assertEqual((route["nexthop_vpc_connector_id"], route["type"]), (None, "custom"))
        self.assertEqual(self.call(200, "GET", path), route)
        changed = self.call(200, "PATCH", path, {"description": "e", "tags": ["tf", "2"]})
        self.assertEqual((changed["description"], changed["tags"]), ("e", ["tf", "2"]))
        self.assertEqual(self.call(200, "GET", path), changed)
        # The hop goes along unchanged, only the destination moves.
        changed = self.call(200, "PATCH", path, {"destination": "10.98.0.0/23"})
        self.assertEqual((changed["destination"], changed["nexthop_resource_id"]), ("10.98.0.0/23", ip["id"]))
        self.assertEqual(self.call(200, "GET", path), changed)
        # The data source.
        query = f"nexthop_resource_type=unknown_type&order_by=created_at_asc&page=1&vpc_id={vpc['id']}"
        listed = self.call(200, "GET", f"{VPC}/routes-with-nexthop?{query}")
        self.keys(listed, "routes total_count")
        self.assertEqual((listed["total_count"], listed["routes"][-1]["route"]), (3, changed))
        self.keys(listed["routes"][0], "nexthop_ip nexthop_name nexthop_resource_type route")
        self.assertEqual((listed["routes"][0]["route"]["id"], listed["routes"][0]["route"]["tags"]), ("", ["MANAGED"]))

        acl = f"{VPC}/vpcs/{vpc['id']}/acl-rules"
        rule = {
            "action": "accept",
            "description": "d",
            "destination": "0.0.0.0/0",
            "dst_port_high": 0,
            "dst_port_low": 0,
            "protocol": "tcp",
            "source": "10.82.0.0/24",
            "src_port_high": 0,
            "src_port_low": 0,
        }
        body = {"rules": [{**rule, "protocol": "TCP"}], "is_ipv6": False, "default_policy": "drop"}
        self.assertEqual(self.call(200, "PUT", acl, body), {"default_policy": "drop", "rules": [rule]})
        self.assertEqual(self.call(200, "GET", f"{acl}?is_ipv6=false"), {"default_policy": "drop", "rules": [rule]})
        # Its destruction.
        empty = {"default_policy": "accept", "rules": []}
        self.assertEqual(self.call(200, "PUT", acl, {"rules": None, "is_ipv6": False, "default_policy": "accept"}), empty)
        self.assertEqual(self.call(200, "GET", f"{acl}?is_ipv6=false"), empty)
        self.assertEqual(self.call(200, "GET", f"{acl}?is_ipv6=true"), empty)

        self.call(204, "DELETE", path)
        self.missing(path, "unknown", "")
        other = {"mac_address": "02:00:00:00:00:01", "name": "n"}
        moved = self.call(200, "POST", f"{ip_path}/move", {"from_resource": resource, "to_resource": other})
        self.assertEqual((moved["resource"]["mac_address"], moved["resource"]["name"]), ("02:00:00:00:00:01", "n"))
        self.assertIsNone(self.call(200, "POST", f"{ip_path}/detach", {"resource": other})["resource"])
        self.call(204, "DELETE", ip_path, {})
        self.missing(ip_path, "ip")

    def test_addresses_and_secrets(self):
        _, network = self.network()
        ip = self.call(
            200,
            "POST",
            f"{IPAM}/ips",
            {"project_id": PROJECT, "source": {"private_network_id": network["id"]}, "is_ipv6": False, "tags": ["t"]},
        )
        path = f"{IPAM}/ips/{ip['id']}"
        self.addCleanup(self.gone, path)
        self.keys(ip, "address created_at id is_ipv6 project_id region resource reverses source tags updated_at zone")
        # The provider crashes without it, though the request named the network.
        self.assertEqual(ip["source"], {"subnet_id": network["subnets"][0]["id"]})
        self.assertEqual((ip["address"], ip["resource"], ip["zone"], ip["reverses"]), ("10.82.0.2/24", None, None, []))
        self.assertEqual(self.call(200, "GET", path), ip)
        self.assertEqual(self.call(200, "PATCH", path, {"tags": ["u"], "reverses": None})["tags"], ["u"])
        # A DELETE with a body, as the Go SDK sends it for this call alone.
        self.call(204, "DELETE", path, {})
        self.missing(path, "ip")

        secret = self.call(
            200,
            "POST",
            f"{SECRET}/secrets",
            {"project_id": PROJECT, "name": RUN, "tags": None, "type": "unknown_type", "protected": False},
        )
        path = f"{SECRET}/secrets/{secret['id']}"
        self.addCleanup(self.gone, path)
        self.keys(
            secret,
            "id project_id name status created_at updated_at tags version_count description managed type protected path"
            " ephemeral_policy used_by deletion_requested_at key_id region",
        )
        self.assertEqual((secret["type"], secret["tags"], secret["path"]), ("opaque", [], "/"))
        self.assertEqual(self.call(200, "GET", path), secret)
        self.keys(self.call(200, "GET", f"{path}/versions?page=1"), "versions total_count")
        data = base64.b64encode(b"what the user typed").decode()
        version = self.call(200, "POST", f"{path}/versions", {"data": data, "description": "version1"})
        self.assertEqual((version["revision"], version["description"], version["latest"]), (1, "version1", True))
        self.assertEqual(self.call(200, "GET", f"{path}/versions/1/access")["data"], data)
        changed = self.call(200, "PATCH", f"{path}/versions/1", {"description": "d"})
        self.assertEqual(changed["description"], "d")
        self.call(204, "DELETE", f"{path}/versions/1")
        changed = self.call(200, "PATCH", path, {"name": f"{RUN}-n2", "tags": ["b", "a"], "description": "d", "path": "/f"})
        shown = (changed["name"], changed["tags"], changed["description"], changed["path"])
        self.assertEqual(shown, (f"{RUN}-n2", ["b", "a"], "d", "/f"))
        self.assertEqual(self.call(200, "GET", path), changed)
        # Protection is a call of its own, and keeps the secret until it is lifted.
        self.assertTrue(self.call(200, "POST", f"{path}/protect", {})["protected"])
        self.addCleanup(self.exchange, "POST", f"{path}/unprotect", {})
        refused = self.call(412, "DELETE", path)
        self.assertEqual((refused["type"], refused["precondition"]), ("precondition_failed", "protected_resource"))
        self.assertTrue(self.call(200, "GET", path)["protected"])
        self.assertFalse(self.call(200, "POST", f"{path}/unprotect", {})["protected"])
        self.call(204, "DELETE", path)
        self.missing(path, "secret")

    def test_vpc_is_updated_and_imported(self):
        """`scaleway_vpc`: its switches are calls of their own, which only turn on."""
        vpc, network = self.network()
        path = f"{VPC}/vpcs/{vpc['id']}"
        changed = self.call(200, "PATCH", path, {"name": f"{RUN}-n2", "tags": ["b", "a"]})
        self.assertEqual((changed["name"], changed["tags"]), (f"{RUN}-n2", ["b", "a"]))
        self.assertTrue(self.call(200, "POST", f"{path}/enable-routing", {})["routing_enabled"])
        switched = self.call(200, "POST", f"{path}/enable-custom-routes-propagation", {})
        self.assertTrue(switched["custom_routes_propagation_enabled"])
        read = self.call(200, "GET", path)
        self.assertEqual(
            (read["name"], read["tags"], read["custom_routes_propagation_enabled"], read["private_network_count"]),
            (f"{RUN}-n2", ["b", "a"], True, 1),
        )
        # The network is changed by the name of nothing else: its three fields go together, changed or not.
        body = {"name": RUN, "tags": [], "default_route_propagation_enabled": False}
        updated = self.call(200, "PATCH", f"{VPC}/private-networks/{network['id']}", body)
        self.assertEqual({**updated, "updated_at": ""}, {**network, "updated_at": ""})

    def test_booked_addresses_and_a_destroy_in_parallel(self):
        """A gateway on addresses of its owner's, and everything destroyed as Terraform does it: by branches, at once."""
        vpc, network = self.network()
        booked = []
        for source, is_ipv6 in (({"zonal": ZONE}, False), ({"zonal": ZONE}, True), ({"private_network_id": network["id"]}, False)):
            body = {"project_id": PROJECT, "source": source, "is_ipv6": is_ipv6, "tags": []}
            booked.append(self.call(200, "POST", f"{IPAM}/ips", body))
            self.addCleanup(self.gone, f"{IPAM}/ips/{booked[-1]['id']}")
        public_config = {"ipam_ipv4_id": booked[0]["id"], "ipam_ipv6_id": booked[1]["id"]}
        gateway = self.call(
            200,
            "POST",
            f"{S2S}/vpn-gateways",
            {
                "project_id": PROJECT,
                "name": RUN,
                "tags": [],
                "gateway_type": "VGW-S",
                "private_network_id": network["id"],
                "public_config": public_config,
                "ipam_private_ipv4_id": booked[2]["id"],
                "zone": ZONE,
            },
        )
        gateway_path = f"{S2S}/vpn-gateways/{gateway['id']}"
        self.addCleanup(self.gone, gateway_path)
        gateway = self.settled(gateway["id"])
        self.assertEqual((gateway["public_config"], gateway["ipam_private_ipv4_id"]), (public_config, booked[2]["id"]))
        for ip in booked:
            resource = self.call(200, "GET", f"{IPAM}/ips/{ip['id']}")["resource"]
            self.assertEqual((resource["id"], resource["type"]), (gateway["id"], "vpn_gateway"))
        customer = self.call(
            200,
            "POST",
            f"{S2S}/customer-gateways",
            {"project_id": PROJECT, "name": RUN, "tags": [], "ipv4_public": "51.15.224.227/32", "asn": 65000},
        )
        policy = self.call(200, "POST", f"{S2S}/routing-policies", {"project_id": PROJECT, "name": RUN, "is_ipv6": False})
        branches = [f"{S2S}/customer-gateways/{customer['id']}", f"{S2S}/routing-policies/{policy['id']}"]
        for branch in branches:
            self.addCleanup(self.gone, branch)
        connection = self.call(
            200,
            "POST",
            f"{S2S}/connections",
            {
                "project_id": PROJECT,
                "name": RUN,
                "is_ipv6": False,
                "vpn_gateway_id": gateway["id"],
                "customer_gateway_id": customer["id"],
                "initiation_policy": "customer_gateway",
                "ikev2_ciphers": [CIPHER],
                "esp_ciphers": [CIPHER],
                "bgp_config_ipv4": {"routing_policy_id": policy["id"]},
            },
        )["connection"]
        path = f"{S2S}/connections/{connection['id']}"
        self.addCleanup(self.gone, path)

        # Nothing of it goes while the connection is there.
        for used in [*branches, f"{VPC}/private-networks/{network['id']}", f"{VPC}/vpcs/{vpc['id']}"]:
            self.assertEqual(self.call(412, "DELETE", used)["type"], "precondition_failed", used)
        self.settled(gateway["id"])
        self.call(204, "DELETE", path)

        def destroy(branch):
            transport = Transport()
            transport.setUp()
            try:
                if branch != gateway_path:
                    return transport.exchange("DELETE", branch)[0]
                deadline = time.monotonic() + 90
                while time.monotonic() < deadline:
                    status, _, text = transport.exchange("GET", branch)
                    if status == 200 and json.loads(text)["status"] not in TRANSIENT:
                        status = transport.exchange("DELETE", branch)[0]
                        # It may have become transient meanwhile: the next turn sees.
                        if status == 200:
                            break
                while transport.exchange("GET", branch)[0] != 404 and time.monotonic() < deadline:
                    time.sleep(0.1)
                return status
            finally:
                transport.connection.close()

        with concurrent.futures.ThreadPoolExecutor() as threads:
            statuses = list(threads.map(destroy, [*branches, gateway_path]))
        self.assertEqual(statuses, [204, 204, 200])
        for ip in booked:
            answer = self.call(200, "GET", f"{IPAM}/ips/{ip['id']}")
            self.assertIsNone(answer["resource"], "the owner's addresses outlive the gateway")
            self.call(204, "DELETE", f"{IPAM}/ips/{ip['id']}", {})
        # Its deletion is tried again while it is refused with 412, as it was before.
        network_path = f"{VPC}/private-networks/{network['id']}"
        deadline = time.monotonic() + 90
        while (status := self.exchange("DELETE", network_path)[0]) == 412 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(status, 204)
        self.call(204, "DELETE", f"{VPC}/vpcs/{vpc['id']}")

    def test_lookup_by_name_among_many_similar_ones(self):
        made = []
        for number in [*range(60), None]:
            name = f"{RUN}-similar" if number is None else f"{RUN}-similar-{number}"
            made.append(self.call(200, "POST", f"{VPC}/vpcs", {"name": name, "project_id": PROJECT}))
            self.addCleanup(self.gone, f"{VPC}/vpcs/{made[-1]['id']}")
        # The data source reads one page and looks for the exact name in it.
        found = self.call(200, "GET", f"{VPC}/vpcs?name={RUN}-similar&order_by=created_at_asc")
        self.assertEqual(found["total_count"], 61)
        exact = [vpc["id"] for vpc in found["vpcs"] if vpc["name"] == f"{RUN}-similar"]
        self.assertEqual(exact, [made[-1]["id"]])

    def test_placeholders_of_clients(self):
        """`null`, `""` and `unknown_*` are what clients send for nothing."""
        made = self.call(
            200,
            "POST",
            f"{S2S}/routing-policies",
            {
                "project_id": "",
                "name": RUN,
                "tags": None,
                "is_ipv6": False,
                "prefix_filter_in": None,
                "prefix_filter_out": None,
                "a_field_of_tomorrow": {"x": [1]},
            },
        )
        path = f"{S2S}/routing-policies/{made['id']}"
        self.addCleanup(self.gone, path)
        self.assertEqual((made["project_id"], made["tags"], made["prefix_filter_in"]), (PROJECT, [], []))
        listed = self.call(200, "GET", f"{S2S}/routing-policies?name={RUN}&ipv6=False&project_id={PROJECT}&what=ever")
        self.assertEqual([item["id"] for item in listed["routing_policies"]], [made["id"]])
        listed = self.call(200, "GET", f"{S2S}/routing-policies?name={RUN}&ipv6=TRUE")
        self.assertEqual(listed, {"routing_policies": [], "total_count": 0})
        listed = self.call(200, "GET", f"{S2S}/vpn-gateways?statuses=unknown_status&statuses=&order_by=created_at_asc&page=1000")
        self.assertEqual(listed["gateways"], [])
        # A body on GET is ignored, whatever it is; a missing one on an update changes nothing.
        self.assertEqual(self.exchange("GET", path, raw="{}")[0], 200)
        self.assertEqual(self.exchange("PATCH", path, raw="")[0], 200)
        for body in ("[]", "{", '"x"', "\u00e9"):
            status, _, text = self.exchange("PATCH", path, raw=body.encode())
            self.assertEqual((status, json.loads(text)["type"]), (400, "invalid_arguments"), body)
        status, _, text = self.exchange("GET", "/nothing/here")
        self.assertEqual((status, json.loads(text)["type"]), (404, "not_found"))
        status, _, text = self.exchange("PUT", path, raw="{}")
        self.assertEqual((status, json.loads(text)["type"]), (405, "method_not_allowed"))


if __name__ == "__main__":
    unittest.main()
