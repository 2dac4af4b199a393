"""InterLink as Terraform's provider drives it (wire-api.md §11.6, §11.7): every exchange, its keys in wire order, without any SDK between.

What the operator adds first has no exchange of the provider's, and goes through the SDK's HTTP layer.
"""

import time
import unittest
import uuid

from offer import Offer
from provider import ORGANIZATION, PROJECT, REGION, RUN, VPC, Transport
from scaleway import Client

P = f"/interlink/v1beta1/regions/{REGION}"
LINK = (
    "bandwidth_mbps bgp_v4_status bgp_v6_status created_at enable_route_propagation id name organization_id partner peer_bgp_config"
    " pop_id project_id region scw_bgp_config status tags updated_at vlan"
)


class TerraformInterLink(Transport):
    """Resources `scaleway_interlink_link` and `scaleway_interlink_routing_policy`, and the data sources around them."""

    @classmethod
    def setUpClass(cls):
        cls.offer = Offer(Client.from_env(), f"{RUN}-il", cls.addClassCleanup)

    def polled(self, link_id):
        """The provider polls every 15 s until the link is no longer `configuring`; the sequence is the same at a quicker pace."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            answer = self.call(200, "GET", f"{P}/links/{link_id}")
            if answer["status"] != "configuring":
                return answer
            time.sleep(0.1)
        self.fail(f"link {link_id} stayed configuring")

    def vpc(self):
        vpc = self.call(
            200, "POST", f"{VPC}/vpcs", {"name": RUN, "project_id": PROJECT, "tags": [], "enable_routing": False, "enable_transitivity": False}
        )
        self.addCleanup(self.exchange, "DELETE", f"{VPC}/vpcs/{vpc['id']}")
        return vpc

    def apply(self, **more):
        """Creates: POST, and a poll after it."""
        body = {
            "project_id": PROJECT,
            "name": RUN,
            "tags": [],
            "pop_id": self.offer.pop["id"],
            "bandwidth_mbps": 50,
            **more,
        }
        link = self.call(200, "POST", f"{P}/links", body)
        self.addCleanup(self.exchange, "DELETE", f"{P}/links/{link['id']}")
        return link, self.polled(link["id"])

    def test_hosted_link_apply_refresh_update_import_destroy(self):
        created, link = self.apply(partner_id=self.offer.partner["id"])
        self.keys(created, LINK)
        self.keys(created["partner"], "disapproved_reason l3_connectivity pairing_key partner_id")
        self.keys(created["scw_bgp_config"], "asn ipv4 ipv6")
        self.assertEqual(created, link)
        self.assertEqual((link["status"], link["bgp_v4_status"], link["bgp_v6_status"]), ("requested", "disabled", "disabled"))
        self.assertEqual((link["organization_id"], link["project_id"], link["region"]), (ORGANIZATION, PROJECT, REGION))
        self.assertEqual((link["created_at"], link["tags"], link["enable_route_propagation"]), (link["updated_at"], [], False))
        self.assertTrue(uuid.UUID(link["partner"]["pairing_key"]))
        path, vpc = f"{P}/links/{link['id']}", self.vpc()

        # The rest of an apply with propagation and a VPC: each step is polled, though the link stays `requested`.
        enabled = self.call(200, "POST", f"{path}/enable-route-propagation", {})
        self.assertEqual((enabled["enable_route_propagation"], enabled["status"]), (True, "requested"))
        self.polled(link["id"])
        attached = self.call(200, "POST", f"{path}/attach-vpc", {"vpc_id": vpc["id"]})
        self.keys(attached, f"{LINK} vpc_id")
        self.assertGreater(attached["updated_at"], enabled["updated_at"])
        self.assertEqual(self.polled(link["id"]), attached)

        # Refresh and import read; an update sends what has changed.
        self.assertEqual(self.call(200, "GET", path), attached)
        renamed = self.call(200, "PATCH", path, {"name": f"{RUN}-2", "tags": ["tag1", "tag2"]})
        self.assertEqual((renamed["name"], renamed["tags"]), (f"{RUN}-2", ["tag1", "tag2"]))
        other = self.vpc()
        self.polled(link["id"])
        self.keys(self.call(200, "POST", f"{path}/detach-vpc", {}), LINK)
        self.polled(link["id"])
        self.assertEqual(self.call(200, "POST", f"{path}/attach-vpc", {"vpc_id": other["id"]})["vpc_id"], other["id"])

        # Destroy: propagation off, the VPC off, then the link; what it used can go at once.
        self.assertFalse(self.call(200, "POST", f"{path}/disable-route-propagation", {})["enable_route_propagation"])
        self.polled(link["id"])
        last = self.call(200, "POST", f"{path}/detach-vpc", {})
        self.polled(link["id"])
        deleted = self.call(200, "DELETE", path)
        self.assertEqual((deleted["status"], deleted["updated_at"]), ("deleted", last["updated_at"]))
        self.missing(path, "link")
        self.call(204, "DELETE", f"{VPC}/vpcs/{other['id']}")
        self.call(404, "DELETE", path)

    def test_self_hosted_link_with_a_policy(self):
        policy = self.call(
            200,
            "POST",
            f"{P}/routing-policies",
            {"project_id": PROJECT, "name": RUN, "tags": [], "is_ipv6": False, "prefix_filter_in": ["10.0.1.0/24"], "prefix_filter_out": ["10.0.0.0/24"]},
        )
        self.addCleanup(self.exchange, "DELETE", f"{P}/routing-policies/{policy['id']}")
        self.keys(
            policy,
            "created_at id is_ipv6 name organization_id prefix_filter_in prefix_filter_out project_id region tags updated_at",
        )
        self.assertEqual(self.call(200, "GET", f"{P}/routing-policies/{policy['id']}"), policy)
        created, link = self.apply(
            connection_id=self.offer.dedicated["id"], peer_asn=65001, vlan=1510, routing_policy_v4_id=policy["id"]
        )
        own = LINK.replace(" partner ", " ").replace(" scw_bgp_config", " routing_policy_v4_id scw_bgp_config self")
        self.keys(created, own)
        self.assertEqual(created["self"], {"connection_id": self.offer.dedicated["id"]})
        self.assertEqual((link["status"], link["vlan"], link["peer_bgp_config"]["asn"]), (self.offer.in_service("ready")[0], 1510, 65001))
        self.assertEqual((link["routing_policy_v4_id"], link["bgp_v4_status"]), (policy["id"], "down"))
        changed = self.call(200, "PATCH", f"{P}/links/{link['id']}", {"peer_asn": 65002})
        self.assertEqual((changed["peer_bgp_config"]["asn"], changed["name"]), (65002, RUN))
        # Removing every element of a filter sends nothing, which keeps the old list.
        kept = self.call(200, "PATCH", f"{P}/routing-policies/{policy['id']}", {"name": f"{RUN}-p"})
        self.assertEqual((kept["name"], kept["prefix_filter_in"]), (f"{RUN}-p", ["10.0.1.0/24"]))
        # The policy goes within the same second as the link, whatever the link's deletion still waits for.
        self.assertIn(self.call(200, "DELETE", f"{P}/links/{link['id']}")["status"], ("deleted", "deprovisioning"))
        self.call(204, "DELETE", f"{P}/routing-policies/{policy['id']}")

    def test_a_link_in_service_holds_nothing_once_its_owner_has_deleted_it(self):
        policies = []
        for is_ipv6 in (False, True):
            body = {"project_id": PROJECT, "name": RUN, "tags": [], "is_ipv6": is_ipv6, "prefix_filter_in": [], "prefix_filter_out": []}
            policies.append(self.call(200, "POST", f"{P}/routing-policies", body))
            self.addCleanup(self.exchange, "DELETE", f"{P}/routing-policies/{policies[-1]['id']}")
        attached = {f"routing_policy_{family}_id": policy["id"] for family, policy in zip(("v4", "v6"), policies)}
        _, link = self.apply(partner_id=self.offer.partner["id"], **attached)
        path, vpc = f"{P}/links/{link['id']}", self.vpc()
        self.offer.answer(link["id"], "accept")
        self.offer.answer(link["id"], "provisioned")
        self.assertEqual(self.polled(link["id"])["status"], self.offer.in_service("active")[0])
        self.call(200, "POST", f"{path}/attach-vpc", {"vpc_id": vpc["id"]})
        for policy in policies:
            self.call(412, "DELETE", f"{P}/routing-policies/{policy['id']}")
        self.assertEqual(self.call(200, "DELETE", path)["status"], "deprovisioning")
        self.assertEqual(self.polled(link["id"])["status"], "deprovisioning")
        for policy in policies:
            self.call(204, "DELETE", f"{P}/routing-policies/{policy['id']}")
        self.call(204, "DELETE", f"{VPC}/vpcs/{vpc['id']}")
        self.offer.answer(link["id"], "deprovisioned")
        self.assertEqual(self.call(200, "GET", path)["status"], "deleted")

    def test_data_sources(self):
        _, link = self.apply(partner_id=self.offer.partner["id"])
        listed = self.call(
            200,
            "GET",
            f"{P}/links?bgp_v4_status=unknown_bgp_status&bgp_v6_status=unknown_bgp_status&name={RUN}&order_by=created_at_asc&status=unknown_link_status",
        )
        self.keys(listed, "links total_count")
        self.assertIn(link, listed["links"])
        pops = self.call(200, "GET", f"{P}/pops?name={RUN}-il&order_by=name_asc&page=1")
        self.keys(pops, "pops total_count")
        self.assertEqual([pop["id"] for pop in pops["pops"]], [self.offer.pop["id"]])
        self.keys(
            pops["pops"][0],
            "address available_link_bandwidths_mbps city display_name hosting_provider_name id logo_url name region",
        )
        self.assertEqual(self.call(200, "GET", f"{P}/pops/{self.offer.pop['id']}")["name"], self.offer.pop["name"])
        partners = self.call(200, "GET", f"{P}/partners?order_by=name_asc&page=1")
        self.keys(partners, "partners total_count")
        found = [partner for partner in partners["partners"] if partner["name"] == self.offer.partner["name"]]
        self.keys(found[0], "contact_email created_at id l3_connectivity logo_url name portal_url region updated_at")
        self.assertEqual(self.call(200, "GET", f"{P}/partners/{found[0]['id']}"), found[0])
        hosted = self.call(200, "GET", f"{P}/pops?hosting_provider_name=Host+of+{RUN}-il&order_by=name_asc")
        self.assertEqual(hosted["total_count"], 1)
        there = self.call(200, "GET", f"{P}/partners?order_by=name_asc&pop_ids={self.offer.pop['id']}")
        self.assertEqual([partner["id"] for partner in there["partners"]], [self.offer.partner["id"]])
        dedicated = self.call(200, "GET", f"{P}/dedicated-connections?name={RUN}-il&order_by=created_at_asc&page=1&status=unknown_status")
        self.keys(dedicated, "connections total_count")
        self.keys(
            dedicated["connections"][0],
            "available_link_bandwidths bandwidth_mbps created_at demarcation_info id name organization_id pop_id project_id region status"
            " tags updated_at vlan_range",
        )
        path = f"{P}/dedicated-connections/{dedicated['connections'][0]['id']}"
        self.assertEqual(self.call(200, "GET", path), dedicated["connections"][0])

    def test_what_is_not_there_is_named(self):
        nobody = str(uuid.uuid4())
        for collection, resource in (
            ("links", "link"),
            ("pops", "pop"),
            ("partners", "partner"),
            ("dedicated-connections", "dedicated_connection"),
            ("routing-policies", "routing_policy"),
        ):
            self.missing(f"{P}/{collection}/{nobody}", resource)


if __name__ == "__main__":
    unittest.main()
