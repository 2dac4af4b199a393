"""Objects for the fuzzer to find: without them it would see little but 404. Prints what it made as JSON: by collection of the API, those that stay and those that may be deleted."""

import base64
import json
import os
import time

import requests

URL, REGION = os.environ["SCW_API_URL"], os.environ["SCW_DEFAULT_REGION"]
VPC = f"/vpc/v2/regions/{REGION}"
IPAM = f"/ipam/v1/regions/{REGION}"
SECRETS = f"/secret-manager/v1beta1/regions/{REGION}"
S2S = f"/s2s-vpn/v1alpha1/regions/{REGION}"

# How often each call's deletion can succeed.
DOOMED = 4
# Seconds until a gateway has settled; without a node it never does.
PATIENCE = 20

session = requests.Session()
session.headers["X-Auth-Token"] = os.environ["SCW_SECRET_KEY"]


def call(method, path, body=None):
    answer = session.request(method, URL + path, json=body, timeout=30)
    answer.raise_for_status()
    return answer.json() if answer.text else None


def settled(gateway):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if call("GET", f"{S2S}/vpn-gateways/{gateway}")["status"] == "active":
            return True
        time.sleep(0.1)
    return False


def main():
    made = {}

    def make(collection, path, bodies):
        """The first body's object stays."""
        found = [call("POST", path, body) for body in bodies]
        found = [item.get("connection", item) for item in found]
        ids = [item["id"] for item in found]
        made[collection] = {"kept": ids[:1], "doomed": ids[1:]}
        return found[0]

    count = range(DOOMED + 1)
    vpc = make("vpcs", f"{VPC}/vpcs", [{"name": f"vpc {n}"} for n in count])
    networks = [{"name": f"network {n}", "vpc_id": vpc["id"], "subnets": [f"10.{n}.0.0/24"]} for n in count]
    network = make("private-networks", f"{VPC}/private-networks", networks)
    made["subnets"] = {"kept": [subnet["id"] for subnet in network["subnets"]], "doomed": []}
    source = {"private_network_id": network["id"]}
    bodies = [{"source": source, "is_ipv6": False, "resource": {"mac_address": "02:00:00:00:00:01"}}]
    bodies += [{"source": source, "is_ipv6": False} for _ in range(DOOMED)]
    ip = make("ips", f"{IPAM}/ips", bodies)
    routes = [{"description": "", "vpc_id": vpc["id"], "destination": f"172.{16 + n}.0.0/16"} for n in count]
    make("routes", f"{VPC}/routes", [{**route, "nexthop_resource_id": ip["id"]} for route in routes])
    rule = {"protocol": "tcp", "source": "0.0.0.0/0", "destination": "10.0.0.0/8", "dst_port_low": 22, "dst_port_high": 23, "action": "drop"}
    call("PUT", f"{VPC}/vpcs/{vpc['id']}/acl-rules", {"rules": [rule], "is_ipv6": False, "default_policy": "accept"})
    secret = make("secrets", f"{SECRETS}/secrets", [{"name": f"secret {n}", "protected": False} for n in count])
    data = base64.b64encode(b"data").decode()
    for _ in count:
        call("POST", f"{SECRETS}/secrets/{secret['id']}/versions", {"data": data})
    policies = [{"name": f"policy {n}", "is_ipv6": False, "prefix_filter_in": ["192.168.0.0/16"]} for n in count]
    policy = make("routing-policies", f"{S2S}/routing-policies", policies)
    customers = [{"name": f"device {n}", "ipv4_public": f"198.51.100.{n + 1}", "asn": 65000} for n in count]
    make("customer-gateways", f"{S2S}/customer-gateways", customers)
    gateway = make("vpn-gateways", f"{S2S}/vpn-gateways", [{"name": "gateway", "gateway_type": "VGW-S", "private_network_id": network["id"]}])
    if settled(gateway["id"]):
        bodies = []
        for number, customer in enumerate(made["customer-gateways"]["kept"] + made["customer-gateways"]["doomed"][:2]):
            body = {"name": f"connection {number}", "vpn_gateway_id": gateway["id"], "customer_gateway_id": customer}
            bodies.append({**body, "bgp_config_ipv4": {"routing_policy_id": policy["id"]}})
        make("connections", f"{S2S}/connections", bodies)
    print(json.dumps(made))


if __name__ == "__main__":
    main()
