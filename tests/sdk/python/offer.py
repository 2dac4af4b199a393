"""What InterLink's tests order from: a PoP with a partner and a dedicated connection, which the operator adds and takes away again."""

import os

from scaleway import Client, ScalewayException
from scaleway_core.api import API

REGION = os.environ["SCW_DEFAULT_REGION"]


class Extension(API):
    """The extension API, through the SDK's own HTTP layer."""

    def call(self, method, path, body=None):
        response = self._request(method, f"/causeway/v1{path}", body=body)
        self._throw_on_error(response)
        return response.json() if response.content else None


class Offer:
    """The catalogue of one test class. `cleanup` is called with what takes a part away again, in the order of making."""

    SIZES = (50, 100, 200)

    def __init__(self, client, name, cleanup):
        self.operator = Extension(client)
        self.cleanup = cleanup
        for size in self.SIZES:
            self.operator.call("PUT", f"/operator/link-bandwidths/{size}", {"price_per_hour": size * 1000})
        self.pop = self.add(
            "pops",
            name=f"- {name}",
            display_name=f"Paris - {name}",
            city="Paris",
            address="1 rue de la Paix",
            hosting_provider_name=f"Host of {name}",
            link_bandwidths_mbps=list(self.SIZES),
        )
        # No two ports share a wire, whatever their PoPs; each offer has wires of its own.
        wire = f"e{self.pop['id'][:8]}"
        self.partner = self.add(
            "partners", name=f"{name}-ix", asn=39801, contact_email="l2@example.net", portal_url="https://example.net/portal"
        )
        self.port = self.add(
            "ports",
            name=f"{name}-partner",
            pop_id=self.pop["id"],
            partner_id=self.partner["id"],
            attachment={"kind": "vlan", "interface": f"{wire}a"},
            capacity_mbps=1000,
        )
        self.dedicated = self.add(
            "dedicated-connections",
            name=f"{name}-dedicated",
            project_id=client.default_project_id,
            tags=["dedicated"],
            pop_id=self.pop["id"],
            bandwidth_mbps=200,
            vlan_range={"start": 1500, "end": 1599},
            demarcation_info="rack 7",
        )
        self.own_port = self.add(
            "ports",
            name=f"{name}-own",
            pop_id=self.pop["id"],
            connection_id=self.dedicated["id"],
            attachment={"kind": "vlan", "interface": f"{wire}b"},
            capacity_mbps=200,
        )
        key = self.operator.call(
            "POST",
            "/operator/api-keys",
            {"role": "partner", "partner_id": self.partner["id"], "project_id": client.default_project_id},
        )
        cleanup(self.operator.call, "DELETE", f"/operator/api-keys/{key['access_key']}")
        self.at_partner = Extension(
            Client(api_url=client.api_url, access_key=key["access_key"], secret_key=key["secret_key"])
        )

    def add(self, kind, **fields):
        """Adds to the catalogue."""
        made = self.operator.call("POST", f"/operator/{kind}", fields)
        self.cleanup(self.take_away, f"/operator/{kind}/{made['id']}")
        return made

    def take_away(self, path):
        """Links that both sides have deleted can be read for a day, and keep for so long what they were ordered from."""
        try:
            self.operator.call("DELETE", path)
        except ScalewayException as error:
            if error.response.json().get("precondition") != "resource_still_in_use":
                raise

    def answer(self, link_id, verb, **body):
        """What the partner does with a link that is addressed to it."""
        return self.at_partner.call("POST", f"/partner/links/{link_id}/{verb}", body)

    def in_service(self, status):
        """Status and reason of a link in service that should have `status`: its node refuses a port whose interface is not there. Without a node
        (the tests' user is not root, say) nobody carries it."""
        nodes = self.operator.call("GET", "/operator/nodes")["nodes"]
        return (status, "config_refused") if nodes else ("all_down", "no_node")

    def seen(self, link_id):
        """Status and reason of a link."""
        state = self.state(link_id)
        return (state["status"], state["reason"]["code"])

    def state(self, link_id):
        """The link's state."""
        return self.operator.call("GET", f"/regions/{REGION}/links/{link_id}/state")
