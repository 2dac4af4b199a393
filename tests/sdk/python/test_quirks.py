"""What the Python SDK alone sends (wire-api.md §1.3-1.5). Each test looks at the request first, so that it says when an SDK no longer does it."""

import json
import unittest
import unittest.mock
import uuid

import requests
from scaleway import Client
from scaleway.s2s_vpn.v1alpha1 import S2SVpnV1Alpha1API
from scaleway.vpc.v2 import VpcV2API

RUN = f"py-{uuid.uuid4().hex[:8]}"


class Quirks(unittest.TestCase):
    """The requests of the SDK are kept as they go out."""

    def setUp(self):
        self.sent = []
        send = requests.Session.send

        def kept(session, request, **options):
            self.sent.append(request)
            return send(session, request, **options)

        patch = unittest.mock.patch.object(requests.Session, "send", kept)
        patch.start()
        self.addCleanup(patch.stop)
        self.client = Client.from_env()
        self.api = S2SVpnV1Alpha1API(self.client)

    def last(self):
        return self.sent[-1]

    def body(self):
        return json.loads(self.last().body)

    def policy(self, name=RUN, **options):
        policy = self.api.create_routing_policy(
            name=name, is_ipv6=False, prefix_filter_in=["10.99.0.0/16"], prefix_filter_out=[], **options
        )
        self.addCleanup(self.api.delete_routing_policy, routing_policy_id=policy.id)
        return policy

    def test_get_and_delete_have_a_body_and_no_content_type(self):
        policy = self.policy()
        self.assertEqual(self.api.get_routing_policy(routing_policy_id=policy.id), policy)
        self.assertEqual((self.last().method, self.last().body), ("GET", "{}"))
        self.assertNotIn("Content-Type", self.last().headers)
        other = self.api.create_routing_policy(name=RUN, is_ipv6=True, prefix_filter_in=[], prefix_filter_out=[])
        self.api.delete_routing_policy(routing_policy_id=other.id)
        self.assertEqual((self.last().method, self.last().body), ("DELETE", "{}"))

    def test_content_type_has_a_charset_and_the_token_is_in_lower_case(self):
        self.policy()
        self.assertEqual(self.last().headers["Content-Type"], "application/json; charset=utf-8")
        self.assertIn("x-auth-token", list(self.last().headers))

    def test_booleans_are_capitalised(self):
        policy = self.policy()
        found = self.api.list_routing_policies(name=RUN, ipv6=False)
        self.assertIn("ipv6=False", self.last().url)
        self.assertIn(policy.id, [item.id for item in found.routing_policies])
        self.assertEqual(self.api.list_routing_policies(name=RUN, ipv6=True).total_count, 0)
        self.assertIn("ipv6=True", self.last().url)

    def test_lists_repeat_their_key_and_spaces_are_pluses(self):
        policy = self.policy(tags=["with space", RUN])
        found = self.api.list_routing_policies(tags=["with space", "nobody's"], name=RUN)
        self.assertIn("tags=with+space&tags=nobody%27s", self.last().url)
        self.assertEqual([item.id for item in found.routing_policies], [policy.id])

    def test_lists_are_filtered_by_the_profiles_project_and_organization(self):
        policy = self.policy()
        found = self.api.list_routing_policies(name=RUN)
        for name, value in (
            ("project_id", self.client.default_project_id),
            ("organization_id", self.client.default_organization_id),
        ):
            self.assertIn(f"{name}={value}", self.last().url)
        self.assertIn(policy.id, [item.id for item in found.routing_policies])
        # Both have to hold.
        strangers = self.api.list_routing_policies(name=RUN, organization_id=str(uuid.uuid4()))
        self.assertEqual((strangers.routing_policies, strangers.total_count), ([], 0))

    def test_a_profile_without_project_sends_null(self):
        nobody = Client.from_env()
        nobody.default_project_id = None
        policy = S2SVpnV1Alpha1API(nobody).create_routing_policy(
            name=RUN, is_ipv6=False, prefix_filter_in=[], prefix_filter_out=[]
        )
        self.addCleanup(self.api.delete_routing_policy, routing_policy_id=policy.id)
        self.assertIsNone(self.body()["project_id"])
        self.assertEqual(policy.project_id, self.client.default_project_id, "the key's project")

    def test_what_is_none_is_left_out(self):
        policy = self.policy(tags=["a"])
        self.assertEqual(self.api.update_routing_policy(routing_policy_id=policy.id, name=f"{RUN} 2").tags, ["a"])
        self.assertEqual(self.body(), {"name": f"{RUN} 2"})

    def test_an_empty_list_removes_tags(self):
        policy = self.policy(tags=["a"])
        self.assertEqual(self.api.update_routing_policy(routing_policy_id=policy.id, tags=[]).tags, [])
        self.assertEqual(self.body(), {"tags": []})

    def test_all_pages_are_read_until_one_is_short(self):
        made = [self.policy().id for _ in range(4)]
        found = self.api.list_routing_policies_all(name=RUN, page_size=2)
        self.assertEqual([item.id for item in found], made)
        # The fourth fills the second page, so that a third, empty one is asked for.
        pages = [request.url.split("page=")[1].split("&")[0] for request in self.sent if "page_size=2" in request.url]
        self.assertEqual(pages, ["1", "2", "3"])

    def test_total_count_is_a_number(self):
        self.policy()
        self.assertEqual(self.api.list_routing_policies(name=RUN).total_count, 1)

    def test_actions_send_an_empty_object(self):
        vpcs = VpcV2API(self.client)
        vpc = vpcs.create_vpc(name=RUN, enable_routing=True, enable_transitivity=False)
        self.addCleanup(vpcs.delete_vpc, vpc_id=vpc.id)
        self.assertTrue(vpcs.enable_routing(vpc_id=vpc.id).routing_enabled)
        self.assertEqual(self.last().body, "{}")


if __name__ == "__main__":
    unittest.main()
