#!/usr/bin/env python3
"""Writes docs/conformance.md from the sources of the suites: call × client × the tests that make the call.

With --check it compares instead, and fails as well if a client offers a call that none of its tests makes. A source says what a test would
do; with --seen LOG CLIENT it compares with the calls that the service has logged as answered with success, and fails for those that the page
has and the client did not make.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "conformance.md"

# Method and path below /s2s-vpn/v1alpha1/regions/{region}, and the call's name in words. None for what a client does not offer.
CALLS = [
    ("GET vpn-gateway-types", "list vpn gateway types", "list vpn gateway types"),
    ("GET vpn-gateways", "list vpn gateways", "list vpn gateways"),
    ("POST vpn-gateways", "create vpn gateway", "create vpn gateway"),
    ("GET vpn-gateways/{id}", "get vpn gateway", "get vpn gateway"),
    ("the waiter on it", "wait for vpn gateway", "wait for vpn gateway"),
    ("PATCH vpn-gateways/{id}", "update vpn gateway", "update vpn gateway"),
    ("DELETE vpn-gateways/{id}", "delete vpn gateway", "delete vpn gateway"),
    ("GET connections", "list connections", "list connections"),
    ("POST connections", "create connection", "create connection"),
    ("GET connections/{id}", "get connection", "get connection"),
    ("PATCH connections/{id}", "update connection", "update connection"),
    ("DELETE connections/{id}", "delete connection", "delete connection"),
    ("POST connections/{id}/renew-psk", "renew connection psk", "renew connection psk"),
    ("POST connections/{id}/change-psk", "change connection psk", None),
    ("POST connections/{id}/set-routing-policy", "set routing policy", "set routing policy"),
    ("POST connections/{id}/detach-routing-policy", "detach routing policy", "detach routing policy"),
    ("POST connections/{id}/enable-route-propagation", "enable route propagation", "enable route propagation"),
    ("POST connections/{id}/disable-route-propagation", "disable route propagation", "disable route propagation"),
    ("GET customer-gateways", "list customer gateways", "list customer gateways"),
    ("POST customer-gateways", "create customer gateway", "create customer gateway"),
    ("GET customer-gateways/{id}", "get customer gateway", "get customer gateway"),
    ("PATCH customer-gateways/{id}", "update customer gateway", "update customer gateway"),
    ("DELETE customer-gateways/{id}", "delete customer gateway", "delete customer gateway"),
    ("GET routing-policies", "list routing policies", "list routing policies"),
    ("POST routing-policies", "create routing policy", "create routing policy"),
    ("GET routing-policies/{id}", "get routing policy", "get routing policy"),
    ("PATCH routing-policies/{id}", "update routing policy", "update routing policy"),
    ("DELETE routing-policies/{id}", "delete routing policy", "delete routing policy"),
]

# The same below /interlink/v1beta1/regions/{region}; every client offers all of them.
LINK_CALLS = [
    ("GET dedicated-connections", "list dedicated connections"),
    ("GET dedicated-connections/{id}", "get dedicated connection"),
    ("the waiter on it", "wait for dedicated connection"),
    ("GET partners", "list partners"),
    ("GET partners/{id}", "get partner"),
    ("GET pops", "list pops"),
    ("GET pops/{id}", "get pop"),
    ("GET links", "list links"),
    ("POST links", "create link"),
    ("GET links/{id}", "get link"),
    ("the waiter on it", "wait for link"),
    ("PATCH links/{id}", "update link"),
    ("DELETE links/{id}", "delete link"),
    ("POST links/{id}/attach-vpc", "attach vpc"),
    ("POST links/{id}/detach-vpc", "detach vpc"),
    ("POST links/{id}/attach-routing-policy", "attach routing policy"),
    ("POST links/{id}/detach-routing-policy", "detach routing policy"),
    ("POST links/{id}/set-routing-policy", "set routing policy"),
    ("POST links/{id}/enable-route-propagation", "enable route propagation"),
    ("POST links/{id}/disable-route-propagation", "disable route propagation"),
    ("GET routing-policies", "list routing policies"),
    ("POST routing-policies", "create routing policy"),
    ("GET routing-policies/{id}", "get routing policy"),
    ("PATCH routing-policies/{id}", "update routing policy"),
    ("DELETE routing-policies/{id}", "delete routing policy"),
]

# What the clients call around the VPN: the call as the OpenAPI document has it, its name in Python, in JavaScript and in Go. None for
# what a package does not offer, or where none is among ours (account and IAM in JavaScript).
AROUND = {
    "GET /vpc/v2/regions/{region}/vpcs": ("list_vp_cs", "listVPCs", "ListVPCs"),
    "POST /vpc/v2/regions/{region}/vpcs": ("create_vpc", "createVPC", "CreateVPC"),
    "GET /vpc/v2/regions/{region}/vpcs/{vpc_id}": ("get_vpc", "getVPC", "GetVPC"),
    "PATCH /vpc/v2/regions/{region}/vpcs/{vpc_id}": ("update_vpc", "updateVPC", "UpdateVPC"),
    "DELETE /vpc/v2/regions/{region}/vpcs/{vpc_id}": ("delete_vpc", "deleteVPC", "DeleteVPC"),
    "POST /vpc/v2/regions/{region}/vpcs/{vpc_id}/enable-routing": ("enable_routing", "enableRouting", "EnableRouting"),
    "POST /vpc/v2/regions/{region}/vpcs/{vpc_id}/enable-custom-routes-propagation": (
        "enable_custom_routes_propagation",
        "enableCustomRoutesPropagation",
        "EnableCustomRoutesPropagation",
    ),
    "GET /vpc/v2/regions/{region}/vpcs/{vpc_id}/acl-rules": ("get_acl", "getAcl", "GetACL"),
    "PUT /vpc/v2/regions/{region}/vpcs/{vpc_id}/acl-rules": ("set_acl", "setAcl", "SetACL"),
    "GET /vpc/v2/regions/{region}/private-networks": ("list_private_networks", "listPrivateNetworks", "ListPrivateNetworks"),
    "POST /vpc/v2/regions/{region}/private-networks": ("create_private_network", "createPrivateNetwork", "CreatePrivateNetwork"),
    "GET /vpc/v2/regions/{region}/private-networks/{private_network_id}": ("get_private_network", "getPrivateNetwork", "GetPrivateNetwork"),
    "PATCH /vpc/v2/regions/{region}/private-networks/{private_network_id}": (
        "update_private_network",
        "updatePrivateNetwork",
        "UpdatePrivateNetwork",
    ),
    "DELETE /vpc/v2/regions/{region}/private-networks/{private_network_id}": (
        "delete_private_network",
        "deletePrivateNetwork",
        "DeletePrivateNetwork",
    ),
    "POST /vpc/v2/regions/{region}/private-networks/{private_network_id}/enable-dhcp": ("enable_dhcp", "enableDHCP", "EnableDHCP"),
    "GET /vpc/v2/regions/{region}/subnets": ("list_subnets", "listSubnets", "ListSubnets"),
    "GET /vpc/v2/regions/{region}/routes-with-nexthop": (None, None, "ListRoutesWithNexthop"),
    "POST /vpc/v2/regions/{region}/routes": ("create_route", "createRoute", "CreateRoute"),
    "GET /vpc/v2/regions/{region}/routes/{route_id}": ("get_route", "getRoute", "GetRoute"),
    "PATCH /vpc/v2/regions/{region}/routes/{route_id}": ("update_route", "updateRoute", "UpdateRoute"),
    "DELETE /vpc/v2/regions/{region}/routes/{route_id}": ("delete_route", "deleteRoute", "DeleteRoute"),
    "GET /ipam/v1/regions/{region}/ips": ("list_i_ps", "listIPs", "ListIPs"),
    "POST /ipam/v1/regions/{region}/ips": ("book_ip", "bookIP", "BookIP"),
    "GET /ipam/v1/regions/{region}/ips/{ip_id}": ("get_ip", "getIP", "GetIP"),
    "PATCH /ipam/v1/regions/{region}/ips/{ip_id}": ("update_ip", "updateIP", "UpdateIP"),
    "DELETE /ipam/v1/regions/{region}/ips/{ip_id}": ("release_ip", "releaseIP", "ReleaseIP"),
    "POST /ipam/v1/regions/{region}/ips/{ip_id}/attach": ("attach_ip", "attachIP", "AttachIP"),
    "POST /ipam/v1/regions/{region}/ips/{ip_id}/detach": ("detach_ip", "detachIP", "DetachIP"),
    "POST /ipam/v1/regions/{region}/ips/{ip_id}/move": ("move_ip", "moveIP", "MoveIP"),
    "POST /ipam/v1/regions/{region}/ip-sets/release": ("release_ip_set", "releaseIPSet", "ReleaseIPSet"),
    "GET /secret-manager/v1beta1/regions/{region}/secrets": ("list_secrets", "listSecrets", "ListSecrets"),
    "POST /secret-manager/v1beta1/regions/{region}/secrets": ("create_secret", "createSecret", "CreateSecret"),
    "GET /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}": ("get_secret", "getSecret", "GetSecret"),
    "PATCH /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}": ("update_secret", "updateSecret", "UpdateSecret"),
    "DELETE /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}": ("delete_secret", "deleteSecret", "DeleteSecret"),
    "POST /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/protect": ("protect_secret", "protectSecret", "ProtectSecret"),
    "POST /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/unprotect": (
        "unprotect_secret",
        "unprotectSecret",
        "UnprotectSecret",
    ),
    "POST /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/add-owner": (
        "add_secret_owner",
        "addSecretOwner",
        "AddSecretOwner",
    ),
    "GET /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions": (
        "list_secret_versions",
        "listSecretVersions",
        "ListSecretVersions",
    ),
    "POST /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions": (
        "create_secret_version",
        "createSecretVersion",
        "CreateSecretVersion",
    ),
    "GET /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions/{revision}": (
        "get_secret_version",
        "getSecretVersion",
        "GetSecretVersion",
    ),
    "PATCH /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions/{revision}": (
        "update_secret_version",
        "updateSecretVersion",
        "UpdateSecretVersion",
    ),
    "DELETE /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions/{revision}": (
        "delete_secret_version",
        "deleteSecretVersion",
        "DeleteSecretVersion",
    ),
    "GET /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions/{revision}/access": (
        "access_secret_version",
        "accessSecretVersion",
        "AccessSecretVersion",
    ),
    "POST /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions/{revision}/enable": (
        "enable_secret_version",
        "enableSecretVersion",
        "EnableSecretVersion",
    ),
    "POST /secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions/{revision}/disable": (
        "disable_secret_version",
        "disableSecretVersion",
        "DisableSecretVersion",
    ),
    "GET /secret-manager/v1beta1/regions/{region}/secrets-by-path/versions/{revision}/access": (
        "access_secret_version_by_path",
        "accessSecretVersionByPath",
        "AccessSecretVersionByPath",
    ),
    "GET /secret-manager/v1beta1/regions/{region}/secret-types": ("list_secret_types", "listSecretTypes", "ListSecretTypes"),
    "GET /secret-manager/v1beta1/regions/{region}/tags": ("list_tags", "listTags", "ListTags"),
    "GET /account/v3/projects": ("list_projects", None, "ListProjects"),
    "POST /account/v3/projects": ("create_project", None, "CreateProject"),
    "GET /account/v3/projects/{project_id}": ("get_project", None, "GetProject"),
    "PATCH /account/v3/projects/{project_id}": ("update_project", None, "UpdateProject"),
    "DELETE /account/v3/projects/{project_id}": ("delete_project", None, "DeleteProject"),
    "GET /iam/v1alpha1/api-keys": ("list_api_keys", None, "ListAPIKeys"),
    "GET /iam/v1alpha1/api-keys/{access_key}": ("get_api_key", None, "GetAPIKey"),
}

# Status, type, and what the client makes of it. Python has one class for all and is asked for status and `type`.
ERRORS = [
    (400, "invalid_arguments", "InvalidArgumentsError", "InvalidArgumentsError"),
    (401, "denied_authentication", "DeniedAuthenticationError", "DeniedAuthenticationError"),
    (403, "permissions_denied", "PermissionsDeniedError", "PermissionsDeniedError"),
    (403, "quotas_exceeded", "QuotasExceededError", "QuotasExceededError"),
    (404, "not_found", "ResourceNotFoundError", "ResourceNotFoundError"),
    (409, "transient_state", "TransientStateError", "TransientStateError"),
    (409, "already_exists", "AlreadyExistsError", "ResponseError"),
    (412, "precondition_failed", "PreconditionFailedError", "PreconditionFailedError"),
    (423, "locked", "ResourceLockedError", "ResourceLockedError"),
    (429, "too_many_requests", "TooManyRequestsError", "ResponseError"),
    (405, "method_not_allowed", "ScalewayError", "ResponseError"),
    (500, "internal", "ScalewayError", "ResponseError"),
    (501, "not_implemented", "ScalewayError", "ResponseError"),
    (503, "unavailable", "ScalewayError", "ResponseError"),
    (503, "out_of_stock", "OutOfStockError", "OutOfStockError"),
]

INTRODUCTION = """\
# Conformance with the official clients

`scripts/test-sdk` starts the service and drives it with the official SDKs, each with nothing but `operator.env` in its environment:

| Client | Packages | Suite |
|---|---|---|
| Python | {python} | `tests/sdk/python` |
| JavaScript | {js} | `tests/sdk/js` |
| Go | {go} | `tests/sdk/go` |
| Terraform's exchanges | none: the requests that the provider sends | `tests/sdk/python/test_terraform*.py` |

The clients differ on the wire (a body with GET and DELETE, `True` for `true`, `null` for what is left out, `/32` after an address), so each makes every call
that it offers. This page is written by `tests/sdk/table.py` from the suites' sources; `scripts/test-sdk` fails when they disagree, when a call
of it was not really made (the service logs what it answered to whom), or when a
client offers a call that its suite does not make. In the tables, `shared` is the code around a suite's tests.
"""


def around():
    """Calls of the APIs around the VPN that the OpenAPI document offers, in its order, and how many it has that are not offered."""
    document = json.loads((HERE.parent.parent / "openapi" / "causeway.json").read_text())
    offered, refused = [], 0
    for path, methods in document["paths"].items():
        if not re.match(r"/(vpc|ipam|secret-manager|account|iam)/", path):
            continue
        for method, call in methods.items():
            if "501" in call["responses"]:
                refused += 1
            else:
                offered.append(f"{method.upper()} {path}")
    return offered, refused


def camel(words):
    first, *rest = words.split()
    return first + "".join(word.title() for word in rest)


def python_tests(text):
    return blocks(text, r"^    def (\w+)\(", "test_")


def js_tests(text):
    return blocks(text, r"^(?:test\('([^']+)'|(?:export const|before|after)\b)", "")


def go_tests(text):
    return blocks(text, r"^func (?:\([^)]*\) )?(\w+)[\[(]", "Test")


def blocks(text, start, prefix):
    """[(name of the test or `shared`, its source)]"""
    found = list(re.finditer(start, text, re.MULTILINE))
    ends = [match.start() for match in found[1:]] + [len(text)]
    result = [("shared", text[: found[0].start()])] if found else []
    for match, end in zip(found, ends):
        name = match.group(1)
        is_test = name is not None and name.startswith(prefix)
        result.append((name if is_test else "shared", text[match.start() : end]))
    return result


def sources(folder, pattern, split):
    result = []
    for path in sorted((HERE / folder).glob(pattern)):
        result += split(path.read_text())
    return result


def covering(tests, expression):
    names = []
    for name, text in tests:
        if name not in names and re.search(expression, text):
            names.append(name)
    return sorted(names, key=lambda name: (name == "shared", name))


def cell(names, bad, what):
    if not names:
        bad.append(what)
        return "**nothing**"
    shown = names[:3]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"`{name}`" if name != "shared" else name for name in shown) + more


def versions():
    lock = (HERE / "js" / "package-lock.json").read_text()
    packages = re.findall(r'"(?:\w+/)?node_modules/@scaleway/(sdk-[\w-]+)": \{\s*"version": "([^"]+)"', lock)
    packages = sorted({f"`@scaleway/{name}` {version}" for name, version in packages if name != "sdk-std"})
    python = [line for line in (HERE / "python" / "requirements.txt").read_text().split() if line.startswith("scaleway")]
    go = re.search(r"github\.com/scaleway/scaleway-sdk-go \S+", (HERE / "go" / "go.mod").read_text()).group().split()
    return {
        "python": ", ".join(" ".join([f"`{name.split('==')[0]}`", name.split("==")[1]]) for name in python),
        "js": ", ".join(packages),
        "go": f"`{go[0]}` {go[1]}",
    }


def page():
    bad = []
    python = sources("python", "test_[!t]*.py", python_tests)
    js = sources("js", "network/*.js", js_tests) + sources("js", "secret/*.test.js", js_tests)
    go = sources("go", "*_test.go", go_tests)
    text = INTRODUCTION.format(**versions())
    text += "\n## Site-to-Site VPN: every call\n\n| Call | Python | JavaScript | Go |\n|---|---|---|---|\n"
    for call, words, in_js in CALLS:
        snake = words.replace(" ", "_")
        cells = [cell(covering(python, rf"api\.{snake}(_all)?\b"), bad, f"Python: {call}")]
        cells.append(cell(covering(js, rf"vpn\.{camel(in_js)}\b"), bad, f"JavaScript: {call}") if in_js else "not in the SDK")
        cells.append(cell(covering(go, rf"vpn\.{words.title().replace(' ', '')}\("), bad, f"Go: {call}"))
        text += f"| {call} | {' | '.join(cells)} |\n"
    text += "\n## InterLink: every call\n\n| Call | Python | JavaScript | Go |\n|---|---|---|---|\n"
    for call, words in LINK_CALLS:
        snake, pascal = words.replace(" ", "_"), words.title().replace(" ", "")
        cells = [cell(covering(python, rf"links\.{snake}(_all)?\b"), bad, f"Python: {call}")]
        cells.append(cell(covering(js, rf"links\.{camel(words)}\b"), bad, f"JavaScript: {call}"))
        cells.append(cell(covering(go, rf"links\.{pascal}\("), bad, f"Go: {call}"))
        text += f"| {call} | {' | '.join(cells)} |\n"
    text += "\n## Networks, addresses, secrets, projects\n\n| Call | Python | JavaScript | Go |\n|---|---|---|---|\n"
    offered, refused = around()
    for call in offered:
        names = AROUND.get(call)
        if names is None:
            bad.append(f"{call}: tests/sdk/table.py does not know what clients call it")
            continue
        cells = []
        for client, tests, name in zip(("Python", "JavaScript", "Go"), (python, js, go), names):
            expression = rf"\.{name}(_all)?\b"
            cells.append(cell(covering(tests, expression), bad, f"{client}: {call}") if name else "not in the SDK")
        text += f"| {call.replace('/regions/{region}', '')} | {' | '.join(cells)} |\n"
    text += f"\nProduction has {refused} more calls there that are not offered; they answer 501 `not_implemented`.\n"
    text += "\n## Errors, as each client parses them\n\n"
    text += "| Status, type | Python: `ScalewayException`, body | JavaScript | Go |\n|---|---|---|---|\n"
    for status, kind, in_js, in_go in ERRORS:
        cells = [cell(covering(python, rf"{status}, \"{kind}\""), bad, f"Python: {kind}")]
        marks = {"JavaScript": (js, rf"Errors\.{in_js}\b", in_js), "Go": (go, rf"parsed\[\*scw\.{in_go}\]|\(\*scw\.{in_go}\)", in_go)}
        for client, (tests, expression, name) in marks.items():
            expression = rf"(?s)(?=.*{kind})(?=.*(?:{expression}))" if name in ("ResponseError", "ScalewayError") else expression
            cells.append(f"`{name}`: " + cell(covering(tests, expression), bad, f"{client}: {kind}"))
        text += f"| {status} `{kind}` | {' | '.join(cells)} |\n"
    text += (
        "\nWhat the clients have no class for comes as their generic error, which keeps status and body"
        " (`already_exists` and `too_many_requests` in Go; `method_not_allowed`, `internal`, `not_implemented` and `unavailable` everywhere). `resource_expired` (410) is answered nowhere.\n"
    )
    return text, bad


# How each client names itself; Terraform's exchanges are no test of the Go SDK.
AGENTS = {"python": r"scaleway-sdk-python/", "js": r"scaleway-sdk-js/", "go": r"scaleway-sdk-go/(?!.*terraform)"}
ANSWERED = re.compile(r'request\{id=\S+ method=(\w+) path="([^"]*)"\}: causeway_api::headers: answered status=2\d\d .*client="([^"]*)"')


def offered_by(client):
    """The calls that the page has for a client; waiters make other ones."""
    calls = [("/s2s-vpn/v1alpha1/regions/{region}/", call) for call, _, in_js in CALLS if in_js or client != "js"]
    calls += [("/interlink/v1beta1/regions/{region}/", call) for call, _ in LINK_CALLS]
    calls = [call.replace(" ", f" {prefix}", 1) for prefix, call in calls if not call.startswith("the waiter")]
    column = list(AGENTS).index(client)
    return calls + [call for call in around()[0] if AROUND.get(call, (None,) * 3)[column]]


def seen(log, client):
    """What is missing of those in a log."""
    made = set()
    for line in pathlib.Path(log).read_text(errors="replace").splitlines():
        match = ANSWERED.search(line)
        if match and re.match(AGENTS[client], match.group(3)):
            made.add(f"{match.group(1)} {match.group(2)}")
    missing = []
    for call in offered_by(client):
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(call))
        if not any(re.fullmatch(pattern, one) for one in made):
            missing.append(call)
    return missing


def main():
    if "--seen" in sys.argv:
        log, client = sys.argv[sys.argv.index("--seen") + 1 :]
        missing = seen(log, client)
        for call in missing:
            print(f"never answered with success: {client}: {call}", file=sys.stderr)
        sys.exit(1 if missing else 0)
    text, bad = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        bad.append("docs/conformance.md is not what tests/sdk/table.py writes")
    for line in bad:
        print(f"not covered or out of date: {line}", file=sys.stderr)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
