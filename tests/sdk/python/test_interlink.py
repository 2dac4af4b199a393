"""InterLink with the official Python SDK: the tenant's side. What the partner and the operator do has no SDK and goes through the extension API."""

import time
import unittest
import uuid

from offer import Offer
from scaleway import Client, ScalewayException
from scaleway.interlink.v1beta1 import (
    BgpStatus,
    DedicatedConnectionStatus,
    InterlinkV1Beta1API,
    LinkKind,
    LinkStatus,
    ListDedicatedConnectionsRequestOrderBy,
    ListLinksRequestOrderBy,
    ListPopsRequestOrderBy,
)
from scaleway.vpc.v2 import VpcV2API
from scaleway_core.utils import WaitForOptions

RUN = f"py-{uuid.uuid4().hex[:8]}"
MISSING = "0ae4cf90-0405-4318-a169-e45b3bef7676"
WAITING = WaitForOptions(timeout=90, min_delay=1, max_delay=1)


class InterLink(unittest.TestCase):
    """One PoP with a partner and a dedicated connection for all tests."""

    @classmethod
    def setUpClass(cls):
        cls.client = Client.from_env()
        cls.links = InterlinkV1Beta1API(cls.client)
        cls.vpc_api = VpcV2API(cls.client)
        cls.offer = Offer(cls.client, RUN, cls.addClassCleanup)

    def order(self, **options):
        arguments = {"name": RUN, "pop_id": self.offer.pop["id"], "bandwidth_mbps": 50, "partner_id": self.offer.partner["id"]}
        link = self.links.create_link(**{**arguments, **options})
        self.addCleanup(self.delete, link.id)
        return link

    def own(self, **options):
        """A self-hosted link."""
        return self.order(partner_id=None, connection_id=self.offer.dedicated["id"], **options)

    def delete(self, link_id):
        """Deletes what a test may have deleted already, on both sides."""
        try:
            link = self.links.get_link(link_id=link_id)
            if link.status in (LinkStatus.DELETED, LinkStatus.DEPROVISIONING):
                return
            if link.status == LinkStatus.LOCKED:
                self.offer.operator.call("POST", f"/links/{link_id}/unlock", {})
            if link.enable_route_propagation:
                self.links.disable_route_propagation(link_id=link_id)
            if self.links.delete_link(link_id=link_id).status == LinkStatus.DEPROVISIONING:
                self.offer.answer(link_id, "deprovisioned")
        except ScalewayException as error:
            if error.status_code != 404:
                raise

    def policy(self, is_ipv6=False):
        prefix_in, prefix_out = ("fd99::/48", "fd00::/8") if is_ipv6 else ("10.99.0.0/16", "10.77.0.0/24")
        policy = self.links.create_routing_policy(
            name=RUN, tags=[RUN], is_ipv6=is_ipv6, prefix_filter_in=[prefix_in], prefix_filter_out=[prefix_out]
        )
        self.addCleanup(self.links.delete_routing_policy, routing_policy_id=policy.id)
        return policy

    def vpc(self):
        vpc = self.vpc_api.create_vpc(name=RUN, enable_routing=True, enable_transitivity=False)
        self.addCleanup(self.vpc_api.delete_vpc, vpc_id=vpc.id)
        return vpc

    def fails(self, status, kind, call, **arguments):
        """The parsed body of the error that `call` must end in."""
        with self.assertRaises(ScalewayException) as raised:
            call(**arguments)
        body = raised.exception.response.json()
        self.assertEqual((raised.exception.status_code, body["type"]), (status, kind), body)
        self.assertTrue(body["message"])
        return body

    def wrong(self, call, **arguments):
        """The names of the arguments that are wrong, and why."""
        body = self.fails(400, "invalid_arguments", call, **arguments)
        self.assertTrue(all(detail["help_message"] for detail in body["details"]))
        return [(detail["argument_name"], detail["reason"]) for detail in body["details"]]

    # What links are ordered from

    def test_pops(self):
        ours, name = self.offer.pop["id"], f"- {RUN}"
        pop = self.links.get_pop(pop_id=ours)
        self.assertEqual((pop.name, pop.city, pop.display_name), (f"- {RUN}", "Paris", f"Paris - {RUN}"))
        self.assertEqual(pop.available_link_bandwidths_mbps, [50, 100, 200])
        self.assertIn(ours, [found.id for found in self.links.list_pops_all(order_by=ListPopsRequestOrderBy.NAME_DESC)])
        for filters in (
            {"name": name.upper()},
            {"name": name, "hosting_provider_name": f"host of {RUN}"},
            {"name": name, "partner_id": self.offer.partner["id"]},
            {"name": name, "link_bandwidth_mbps": 100},
            {"name": name, "dedicated_available": True},
            {"name": name, "l3_connectivity_partners": False},
        ):
            found = self.links.list_pops(**filters)
            self.assertEqual(([pop.id for pop in found.pops], found.total_count), ([ours], 1), filters)
        for filters in (
            {"hosting_provider_name": "nobody"},
            {"partner_id": MISSING},
            {"link_bandwidth_mbps": 12345},
            {"dedicated_available": False},
            {"l3_connectivity_partners": True},
        ):
            self.assertEqual(self.links.list_pops(name=name, **filters).total_count, 0, filters)
        self.assertEqual(self.fails(404, "not_found", self.links.get_pop, pop_id=MISSING)["resource"], "pop")

    def test_partners(self):
        ours = self.offer.partner["id"]
        partner = self.links.get_partner(partner_id=ours)
        self.assertEqual((partner.name, partner.contact_email), (f"{RUN}-ix", "l2@example.net"))
        self.assertEqual((partner.portal_url, partner.l3_connectivity), ("https://example.net/portal", False))
        self.assertEqual(partner.region, self.client.default_region)
        self.assertIn(ours, [found.id for found in self.links.list_partners_all()])
        there = self.links.list_partners(pop_ids=[MISSING, self.offer.pop["id"]])
        self.assertEqual([found.id for found in there.partners], [ours])
        self.assertNotIn(ours, [found.id for found in self.links.list_partners(l3_connectivity=True).partners])
        self.assertEqual(self.fails(404, "not_found", self.links.get_partner, partner_id=MISSING)["resource"], "partner")

    def test_dedicated_connections(self):
        ours = self.offer.dedicated["id"]
        connection = self.links.wait_for_dedicated_connection(connection_id=ours, options=WAITING)
        self.assertEqual(connection, self.links.get_dedicated_connection(connection_id=ours))
        self.assertEqual(connection.status, DedicatedConnectionStatus.ACTIVE)
        self.assertEqual((connection.bandwidth_mbps, connection.demarcation_info), (200, "rack 7"))
        self.assertEqual((connection.vlan_range.start, connection.vlan_range.end), (1500, 1599))
        self.assertTrue(set(connection.available_link_bandwidths) <= {50, 100, 200})
        listed = self.links.list_dedicated_connections(
            name=RUN,
            tags=["dedicated"],
            status=DedicatedConnectionStatus.ACTIVE,
            bandwidth_mbps=200,
            pop_id=self.offer.pop["id"],
            order_by=ListDedicatedConnectionsRequestOrderBy.UPDATED_AT_DESC,
        )
        self.assertEqual([found.id for found in listed.connections], [ours])
        none = self.links.list_dedicated_connections_all(name=RUN, status=DedicatedConnectionStatus.DISABLED)
        self.assertEqual(none, [])
        missing = self.fails(404, "not_found", self.links.get_dedicated_connection, connection_id=MISSING)
        self.assertEqual(missing["resource"], "dedicated_connection")

    # Links

    def test_hosted_link(self):
        link = self.order(tags=["a", "b c"])
        self.assertEqual((link.status, link.bgp_v4_status, link.bgp_v6_status), (LinkStatus.REQUESTED, "disabled", "disabled"))
        self.assertEqual((link.bandwidth_mbps, link.tags, link.enable_route_propagation), (50, ["a", "b c"], False))
        self.assertEqual((link.partner.partner_id, link.partner.disapproved_reason), (self.offer.partner["id"], ""))
        self.assertTrue(uuid.UUID(link.partner.pairing_key))
        self.assertIsNone(link.self_)
        self.assertEqual((link.scw_bgp_config.asn, link.peer_bgp_config.asn), (12876, 39801))
        self.assertRegex(link.scw_bgp_config.ipv4, r"^169\.254\.\d+\.\d*[02468]/31$")
        self.assertRegex(link.peer_bgp_config.ipv6, r"/127$")
        self.assertTrue(1500 <= link.vlan <= 3899)
        self.assertEqual(link.created_at, link.updated_at)
        self.assertEqual(self.links.wait_for_link(link_id=link.id, options=WAITING).status, LinkStatus.REQUESTED)

        filters = {
            "name": RUN,
            "tags": ["a"],
            "status": LinkStatus.REQUESTED,
            "bgp_v4_status": BgpStatus.DISABLED,
            "bgp_v6_status": BgpStatus.DISABLED,
            "pop_id": self.offer.pop["id"],
            "bandwidth_mbps": 50,
            "partner_id": self.offer.partner["id"],
            "pairing_key": link.partner.pairing_key,
            "kind": LinkKind.HOSTED,
        }
        found = self.links.list_links(order_by=ListLinksRequestOrderBy.STATUS_DESC, **filters)
        self.assertEqual(([found.id for found in found.links], found.total_count), ([link.id], 1))
        for other in (
            {"status": LinkStatus.ACTIVE},
            {"bgp_v4_status": BgpStatus.UP},
            {"bandwidth_mbps": 100},
            {"pairing_key": MISSING},
            {"kind": LinkKind.SELF_HOSTED},
            {"connection_id": self.offer.dedicated["id"]},
            {"vpc_id": MISSING},
            {"routing_policy_id": MISSING},
        ):
            self.assertEqual(self.links.list_links_all(**{**filters, **other}), [], other)

        renamed = self.links.update_link(link_id=link.id, name=f"{RUN}-2", tags=["tag1", "tag2"])
        self.assertEqual((renamed.name, renamed.tags), (f"{RUN}-2", ["tag1", "tag2"]))
        self.assertGreater(renamed.updated_at, renamed.created_at)
        gone = self.links.delete_link(link_id=link.id)
        self.assertEqual((gone.status, gone.updated_at), (LinkStatus.DELETED, renamed.updated_at))
        missing = self.fails(404, "not_found", self.links.get_link, link_id=link.id)
        self.assertEqual((missing["resource"], missing["resource_id"]), ("link", link.id))

    def test_partner_provisions_and_both_sides_delete(self):
        link = self.order()
        waiting = self.offer.at_partner.call("GET", f"/partner/links?pairing_key={link.partner.pairing_key}")
        self.assertEqual([found["id"] for found in waiting["links"]], [link.id])
        self.assertEqual(self.offer.state(link.id)["turn"], "partner")
        self.offer.answer(link.id, "accept")
        self.assertEqual(self.links.get_link(link_id=link.id).status, LinkStatus.PROVISIONING)
        self.offer.answer(link.id, "provisioned")
        settled = self.links.wait_for_link(link_id=link.id, options=WAITING)
        self.assertEqual(self.offer.seen(link.id), self.offer.in_service("active"))
        self.assertEqual(settled.status, self.offer.in_service("active")[0])

        self.links.enable_route_propagation(link_id=link.id)
        held = self.fails(412, "precondition_failed", self.links.delete_link, link_id=link.id)
        self.assertIn("propagation", held["help_message"])
        self.assertFalse(self.links.disable_route_propagation(link_id=link.id).enable_route_propagation)
        self.assertEqual(self.links.delete_link(link_id=link.id).status, LinkStatus.DEPROVISIONING)
        self.assertEqual(self.links.wait_for_link(link_id=link.id, options=WAITING).status, LinkStatus.DEPROVISIONING)
        self.offer.answer(link.id, "start-deprovisioning")
        self.offer.answer(link.id, "deprovisioned")
        self.assertEqual(self.links.get_link(link_id=link.id).status, LinkStatus.DELETED)
        self.assertEqual(self.links.list_links(name=RUN, pairing_key=link.partner.pairing_key).total_count, 0)

    def test_partner_refuses_for_good(self):
        link = self.order()
        self.offer.answer(link.id, "refuse", reason="no port is free")
        refused = self.links.get_link(link_id=link.id)
        self.assertEqual((refused.status, refused.partner.disapproved_reason), (LinkStatus.REFUSED, "no port is free"))
        with self.assertRaises(ScalewayException) as raised:
            self.offer.answer(link.id, "accept")
        self.assertEqual(raised.exception.status_code, 412)
        self.assertEqual(self.links.delete_link(link_id=link.id).status, LinkStatus.DELETED)

    def becomes(self, link_id, status):
        """Waits until a link has this status."""
        deadline = time.monotonic() + 180
        while (found := self.links.get_link(link_id=link_id).status) != status:
            self.assertLess(time.monotonic(), deadline, f"{found} is not {status}")
            time.sleep(0.5)

    def test_what_time_makes_of_links(self):
        """An order that cannot be placed fails after half a minute; sessions that do not come up have a minute."""
        pop = self.offer.add("pops", name=f"{RUN}-c", link_bandwidths_mbps=[50])
        port = self.offer.add(
            "ports",
            name=f"{RUN}-off",
            pop_id=pop["id"],
            partner_id=self.offer.partner["id"],
            attachment={"kind": "vlan", "interface": "eth4"},
            capacity_mbps=100,
        )
        switch = f"/operator/ports/{port['id']}"
        self.offer.operator.call("PATCH", switch, {"enabled": False})
        waiting = self.order(pop_id=pop["id"])
        self.assertEqual(waiting.status, LinkStatus.CONFIGURING)
        self.assertEqual(self.links.get_link(link_id=waiting.id).status, LinkStatus.CONFIGURING)
        busy = self.fails(409, "transient_state", self.links.enable_route_propagation, link_id=waiting.id)
        self.assertEqual(busy["current_state"], "configuring")

        policy = self.policy()
        silent = self.order()
        self.offer.answer(silent.id, "accept")
        self.offer.answer(silent.id, "provisioned")
        self.links.attach_routing_policy(link_id=silent.id, routing_policy_id=policy.id)

        self.becomes(waiting.id, LinkStatus.FAILED)
        state = self.offer.state(waiting.id)
        self.assertEqual((state["reason"]["code"], state["turn"]), ("order_failed", "operator"))
        self.offer.operator.call("PATCH", switch, {"enabled": True})
        self.offer.operator.call("POST", f"/operator/links/{waiting.id}/repair", {})
        self.becomes(waiting.id, LinkStatus.REQUESTED)

        self.becomes(silent.id, LinkStatus.ALL_DOWN)
        self.assertEqual(self.links.get_link(link_id=silent.id).bgp_v4_status, BgpStatus.DOWN)

    def test_self_hosted_link(self):
        policy = self.policy()
        link = self.own(vlan=1501, peer_asn=65001, routing_policy_v4_id=policy.id)
        link = self.links.wait_for_link(link_id=link.id, options=WAITING)
        self.assertEqual(self.offer.seen(link.id), self.offer.in_service("ready"))
        self.assertEqual((link.status, link.vlan, link.peer_bgp_config.asn), (self.offer.in_service("ready")[0], 1501, 65001))
        self.assertEqual((link.self_.connection_id, link.partner), (self.offer.dedicated["id"], None))
        self.assertEqual((link.routing_policy_v4_id, link.bgp_v4_status), (policy.id, BgpStatus.DOWN))
        found = self.links.list_links_all(name=RUN, kind=LinkKind.SELF_HOSTED, routing_policy_id=policy.id)
        self.assertEqual([found.id for found in found], [link.id])
        self.assertEqual(self.links.update_link(link_id=link.id, peer_asn=65002).peer_bgp_config.asn, 65002)
        self.assertEqual(self.wrong(self.own, vlan=1501), [("vlan", "constraint")])
        self.assertEqual(self.wrong(self.own, vlan=1600), [("vlan", "constraint")])
        # 50 of 200 Mbit/s are taken.
        stock = self.fails(503, "out_of_stock", self.own, bandwidth_mbps=200)
        self.assertTrue(stock["resource"])
        left = self.links.get_dedicated_connection(connection_id=self.offer.dedicated["id"])
        self.assertEqual(left.available_link_bandwidths, [50, 100])
        refused = self.fails(412, "precondition_failed", self.links.delete_routing_policy, routing_policy_id=policy.id)
        self.assertEqual(refused["precondition"], "resource_still_in_use")
        detached = self.links.detach_routing_policy(link_id=link.id, routing_policy_id=policy.id)
        self.assertEqual((detached.routing_policy_v4_id, detached.bgp_v4_status), (None, BgpStatus.DISABLED))

    def test_vpc_and_policies_of_a_link(self):
        link, vpc, other = self.order(), self.vpc(), self.vpc()
        attached = self.links.attach_vpc(link_id=link.id, vpc_id=vpc.id)
        self.assertEqual(attached.vpc_id, vpc.id)
        second = self.fails(412, "precondition_failed", self.links.attach_vpc, link_id=link.id, vpc_id=other.id)
        self.assertIn("detach", second["help_message"])
        held = self.fails(412, "precondition_failed", self.vpc_api.delete_vpc, vpc_id=vpc.id)
        self.assertEqual(held["precondition"], "resource_still_in_use")
        self.assertIsNone(self.links.detach_vpc(link_id=link.id).vpc_id)

        v4, also_v4, v6 = self.policy(), self.policy(), self.policy(is_ipv6=True)
        attached = self.links.attach_routing_policy(link_id=link.id, routing_policy_id=v4.id)
        self.assertEqual((attached.routing_policy_v4_id, attached.bgp_v4_status), (v4.id, BgpStatus.DOWN))
        attached = self.links.attach_routing_policy(link_id=link.id, routing_policy_id=v6.id)
        self.assertEqual((attached.routing_policy_v4_id, attached.routing_policy_v6_id), (v4.id, v6.id))
        again = {"link_id": link.id, "routing_policy_id": also_v4.id}
        self.fails(412, "precondition_failed", self.links.attach_routing_policy, **again)
        self.assertEqual(self.links.set_routing_policy(**again).routing_policy_v4_id, also_v4.id)
        self.assertEqual(self.wrong(self.links.detach_routing_policy, link_id=link.id, routing_policy_id=v4.id)[0][0], "routing_policy_id")
        for policy in (also_v4, v6):
            link = self.links.detach_routing_policy(link_id=link.id, routing_policy_id=policy.id)
        self.assertEqual((link.routing_policy_v4_id, link.routing_policy_v6_id), (None, None))

    def test_policies_are_a_collection_of_their_own(self):
        policy = self.policy()
        self.assertEqual((policy.is_ipv6, policy.prefix_filter_in), (False, ["10.99.0.0/16"]))
        self.assertEqual(self.links.get_routing_policy(routing_policy_id=policy.id), policy)
        other = self.policy(is_ipv6=True)
        found = self.links.list_routing_policies(name=RUN, tags=[RUN], ipv6=True)
        self.assertEqual([found.id for found in found.routing_policies], [other.id])
        self.assertIn(policy.id, [found.id for found in self.links.list_routing_policies_all(name=RUN)])
        changed = self.links.update_routing_policy(routing_policy_id=policy.id, prefix_filter_out=["10.0.0.0/8"])
        self.assertEqual((changed.prefix_filter_in, changed.prefix_filter_out), (["10.99.0.0/16"], ["10.0.0.0/8"]))
        missing = self.fails(404, "not_found", self.links.get_routing_policy, routing_policy_id=MISSING)
        self.assertEqual(missing["resource"], "routing_policy")

    # Errors

    def test_bad_orders(self):
        # The SDK sends no more than one parent.
        self.assertEqual(self.wrong(self.order, partner_id=None), [("partner_id", "constraint")])
        self.assertEqual(self.wrong(self.order, bandwidth_mbps=51), [("bandwidth_mbps", "constraint")])
        self.assertEqual(self.wrong(self.order, bandwidth_mbps=0), [("bandwidth_mbps", "constraint")])
        self.assertEqual(self.wrong(self.order, vlan=2000, peer_asn=65001), [("peer_asn", "constraint"), ("vlan", "constraint")])
        self.assertEqual(self.wrong(self.own, vlan=1499), [("vlan", "constraint")])
        self.assertEqual(self.wrong(self.order, routing_policy_v6_id=self.policy().id), [("routing_policy_v6_id", "constraint")])
        self.assertEqual(self.wrong(self.order, region="nl-ams"), [("region", "constraint")])
        missing = {"pop_id": "pop", "partner_id": "partner", "routing_policy_v4_id": "routing_policy"}
        for argument, resource in missing.items():
            body = self.fails(404, "not_found", self.order, **{argument: MISSING})
            self.assertEqual((body["resource"], body["resource_id"]), (resource, MISSING))

    def test_capacity_is_kept(self):
        port = self.offer.add(
            "ports",
            name=f"{RUN}-small",
            pop_id=self.offer.add("pops", name=f"{RUN}-b", link_bandwidths_mbps=[50, 100])["id"],
            partner_id=self.offer.partner["id"],
            attachment={"kind": "interface", "interface": "eth3"},
            capacity_mbps=100,
        )
        first = self.order(pop_id=port["pop_id"])
        self.fails(503, "out_of_stock", self.order, pop_id=port["pop_id"])
        self.assertEqual(self.links.list_pops(name=f"{RUN}-b").pops[0].available_link_bandwidths_mbps, [])
        self.assertEqual(self.links.get_pop(pop_id=port["pop_id"]).available_link_bandwidths_mbps, [50, 100])
        self.links.delete_link(link_id=first.id)
        again = self.order(pop_id=port["pop_id"])
        self.assertEqual(again.status, LinkStatus.REQUESTED)
        self.links.delete_link(link_id=again.id)

    def test_locked_link(self):
        link = self.order()
        self.offer.operator.call("POST", f"/links/{link.id}/lock", {"reason": "abuse"})
        self.assertEqual(self.links.get_link(link_id=link.id).status, LinkStatus.LOCKED)
        for call in (self.links.delete_link, self.links.enable_route_propagation, self.links.detach_vpc):
            body = self.fails(423, "locked", call, link_id=link.id)
            self.assertEqual((body["resource"], body["resource_id"]), ("link", link.id))
        self.offer.operator.call("POST", f"/links/{link.id}/unlock", {})
        self.assertEqual(self.links.get_link(link_id=link.id).status, LinkStatus.REQUESTED)

    def test_what_others_may_not(self):
        link = self.order()
        as_partner = InterlinkV1Beta1API(self.offer.at_partner.client)
        with self.assertRaises(ScalewayException) as raised:
            as_partner.get_link(link_id=link.id, region=self.client.default_region)
        self.assertIn(raised.exception.status_code, (403, 404))
        rival = self.offer.add("partners", name=f"{RUN}-rival", asn=64999, contact_email="rival@example.net")
        key = self.offer.operator.call(
            "POST",
            "/operator/api-keys",
            {"role": "partner", "partner_id": rival["id"], "project_id": self.client.default_project_id},
        )
        self.addCleanup(self.offer.operator.call, "DELETE", f"/operator/api-keys/{key['access_key']}")
        client = Client(api_url=self.client.api_url, access_key=key["access_key"], secret_key=key["secret_key"])
        elsewhere = type(self.offer.operator)(client)
        for method, path in (
            ("GET", f"/partner/links/{link.id}"),
            ("POST", f"/partner/links/{link.id}/accept"),
            ("POST", f"/partner/links/{link.id}/deprovisioned"),
        ):
            with self.assertRaises(ScalewayException) as raised:
                elsewhere.call(method, path, {})
            self.assertEqual(raised.exception.status_code, 404, path)
        stale = elsewhere.call("GET", f"/partner/links?pairing_key={link.partner.pairing_key}")
        self.assertEqual(stale["total_count"], 0)
        # Out of order.
        with self.assertRaises(ScalewayException) as raised:
            self.offer.answer(link.id, "provisioned")
        self.assertEqual(raised.exception.status_code, 412)


if __name__ == "__main__":
    unittest.main()
