"""What the fuzzer is told beyond the document, and its checks: what every answer has to have, and that every error is one of the catalogue."""

import json
import os
import re
import urllib.parse
import zlib

import jsonschema_rs
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.specs.openapi.checks import negative_data_rejection

UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

# Access keys that the run needs to its end.
KEPT = set(os.environ.get("FUZZ_KEPT_KEYS", "").split())

# What `prepare.py` has made: by collection, ids that stay and ids that may be deleted.
OBJECTS = json.loads(os.environ.get("FUZZ_OBJECTS", "{}"))
# Fields that refer to an object: their names in bodies and queries, and its collection.
REFERENCES = {
    "vpc_id": "vpcs",
    "source_vpc_id": "vpcs",
    "private_network_id": "private-networks",
    "nexthop_private_network_id": "private-networks",
    "nexthop_resource_id": "ips",
    "subnet_id": "subnets",
    "ipam_private_ipv4_id": "ips",
    "vpn_gateway_id": "vpn-gateways",
    "customer_gateway_id": "customer-gateways",
    "routing_policy_id": "routing-policies",
    "routing_policy_v4": "routing-policies",
    "secret_id": "secrets",
    "md5_secret_id": "secrets",
}

# Type of an error: its status and the fields that it has besides `message` and `type`.
CATALOGUE = {
    "invalid_arguments": (400, {"details"}),
    "denied_authentication": (401, {"method", "reason"}),
    "permissions_denied": (403, {"details"}),
    "quotas_exceeded": (403, {"details"}),
    "not_found": (404, {"resource", "resource_id"}),
    "method_not_allowed": (405, set()),
    "transient_state": (409, {"current_state", "resource", "resource_id"}),
    "already_exists": (409, {"help_message", "resource", "resource_id"}),
    "precondition_failed": (412, {"help_message", "precondition"}),
    "locked": (423, {"resource", "resource_id"}),
    "too_many_requests": (429, {"help_message", "limit", "reset_seconds"}),
    "not_implemented": (501, {"help_message"}),
    "out_of_stock": (503, {"resource"}),
    "unavailable": (503, {"help_message"}),
}
DETAILS = {
    "invalid_arguments": {"argument_name", "help_message", "reason"},
    "permissions_denied": {"action", "resource"},
    "quotas_exceeded": {"current", "quota", "resource"},
}
REASONS = {"unknown", "required", "format", "constraint"}
SECURITY = {
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """`null`, empty texts and `unknown_…` words count as absent, says the document in words; as schemas that would help no generator of clients."""
    for path in raw_schema["paths"].values():
        for call in path.values():
            for parameter in call.get("parameters", []):
                if parameter["in"] == "query" and not parameter.get("required"):
                    parameter["schema"] = absent(parameter["schema"], [EMPTY])
            body = call.get("requestBody")
            if body:
                widen(body["content"]["application/json"]["schema"])


EMPTY = {"const": ""}
NULL = {"type": "null"}


def absent(schema, alternatives):
    if schema.get("type") == "array" and NULL not in alternatives:
        # A list in the query: each of its values can be empty.
        return {**schema, "items": absent(schema["items"], alternatives)}
    if schema.get("type") == "string" and not {"enum", "format", "pattern", "minLength"} & set(schema):
        # Empty texts are texts.
        alternatives = [alternative for alternative in alternatives if alternative != EMPTY]
    words = [{"type": "string", "pattern": "^unknown_"}] if "enum" in schema else []
    return {"anyOf": [schema, *alternatives, *words]} if alternatives or words else schema


def widen(schema):
    """Every optional field of a body."""
    for name, field in schema.get("properties", {}).items():
        widen(field)
        widen(field.get("items", {}))
        if name not in schema.get("required", []):
            schema["properties"][name] = absent(field, [NULL, EMPTY])


@schemathesis.hook
def filter_case(context, case):
    """An operator may revoke any key; with the run's own gone, everything after it would be 401."""
    return not (case.method.upper() == "DELETE" and (case.path_parameters or {}).get("access_key") in KEPT)


def known(collection, value, method="GET"):
    """An object of this collection instead of what nobody has made, three times out of four; which, the value itself decides."""
    ids = OBJECTS.get(collection, {}).get("doomed" if method == "DELETE" else "kept", [])
    lot = zlib.crc32(str(value).encode())
    return ids[lot // 4 % len(ids)] if ids and lot % 4 else value


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """A collection comes before its object: `/vpcs/{vpc_id}`. What is below an object is not deleted with it."""
    segments = context.operation.path.split("/")
    for before, segment in zip(segments, segments[1:]):
        name = segment.strip("{}")
        if segment.startswith("{") and name in (path_parameters or {}):
            method = context.operation.method.upper() if segment == segments[-1] else "GET"
            if before == "versions":
                lot = zlib.crc32(str(path_parameters[name]).encode())
                path_parameters[name] = [path_parameters[name], "1", "2", "latest", "latest_enabled"][lot % 5]
            else:
                path_parameters[name] = known(before, path_parameters[name], method)
    return path_parameters


def refer(value):
    """A body that refers to what is there."""
    if isinstance(value, list):
        return [refer(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: known(REFERENCES[name], item) if name in REFERENCES and isinstance(item, str) else refer(item)
        for name, item in value.items()
    }


@schemathesis.hook
def map_body(context, body):
    return refer(body)


@schemathesis.hook
def map_query(context, query):
    """A stream of events has no end, so that no check would see its answer."""
    if query and "follow" in query:
        query.pop("follow")
    return refer(query)


def header(response, name):
    values = response.headers.get(name)
    return values[0] if values else None


def readings(text):
    """What a text in a query can be read as."""
    yield text
    if re.fullmatch(r"-?[0-9]+", text):
        yield int(text)
    if text in {"true", "false"}:
        yield text == "true"


def conforms(schema, texts):
    """Whether the document allows a parameter to be sent as these texts."""
    if schema.get("type") == "array":
        return all(conforms(schema["items"], [text]) for text in texts)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    return len(texts) == 1 and any(validator.is_valid(reading) for reading in readings(texts[0]))


def query_conforms_as_sent(response, case):
    """Whether only the query was made to break the document, and does not in the form in which it was sent: `{}` as a page is an empty text, `null` as a tag a word."""
    broken = [location.name for location, component in case.meta.components.items() if component.mode.is_negative]
    if broken != ["QUERY"]:
        return False
    sent = urllib.parse.parse_qs(urllib.parse.urlparse(response.request.url).query, keep_blank_values=True)
    parameters = [each for each in case.operation.definition.raw.get("parameters", []) if each["in"] == "query"]
    return all(
        conforms(each["schema"], sent[each["name"]]) if each["name"] in sent else not each.get("required") for each in parameters
    )


@schemathesis.check
def what_breaks_the_document_is_refused(ctx, response, case):
    try:
        negative_data_rejection(ctx, response, case)
    except AcceptedNegativeData:
        if not query_conforms_as_sent(response, case):
            raise


@schemathesis.check
def headers_of_every_answer(ctx, response, case):
    for name, wanted in SECURITY.items():
        assert header(response, name) == wanted, f"{name} is {header(response, name)!r}, not {wanted!r}"
    assert UUID.match(header(response, "x-request-id") or ""), "there is no request id"
    assert header(response, "x-total-count") is None, "X-Total-Count would replace a client's total_count"


@schemathesis.check
def catalogue(ctx, response, case):
    status = response.status_code
    if status < 400:
        return
    assert header(response, "content-type") == "application/json", f"an error of type {header(response, 'content-type')}"
    body = json.loads(response.content)
    assert isinstance(body, dict), "an error that is no JSON object"
    kind = body.get("type")
    assert kind in CATALOGUE, f"{status}: {kind} is not in the catalogue"
    wanted, fields = CATALOGUE[kind]
    assert status == wanted, f"{kind} has the status {wanted}, not {status}"
    assert set(body) == fields | {"message", "type"}, f"{kind} has the fields {sorted(body)}"
    assert list(body) == sorted(body), f"the keys are not in alphabetical order: {list(body)}"
    for name in fields - {"details", "limit", "reset_seconds"} | {"message"}:
        # What has no id, has an empty one.
        assert isinstance(body[name], str) and (body[name] or name == "resource_id"), f"{name}: {body[name]!r}"
    if kind in DETAILS:
        assert body["details"], f"{kind} without details"
        for detail in body["details"]:
            assert set(detail) == DETAILS[kind], f"a detail has the fields {sorted(detail)}"
    if kind == "invalid_arguments":
        for detail in body["details"]:
            assert detail["argument_name"] and detail["help_message"], f"{detail} helps nobody"
            assert detail["reason"] in REASONS, f"{detail['reason']} is no reason"
    if kind == "not_implemented":
        responses = case.operation.definition.raw.get("responses", {})
        # A call that is offered may be asked for something that is not: it names the fields, and they were sent.
        sent = case.body if isinstance(case.body, dict) else {}
        fields = re.findall(r"`([^`]+)`", body["help_message"])
        asked = bool(fields) and all(sent.get(field) is not None for field in fields)
        assert "501" in responses or asked, "not_implemented where the document offers the call"
    if kind in {"too_many_requests", "unavailable"}:
        # What is limited at once and not in time says nothing of when.
        wait = header(response, "retry-after")
        assert (wait or "").isdigit() if kind == "unavailable" else wait is None or wait.isdigit(), f"retry-after: {wait!r}"
    if kind == "method_not_allowed":
        assert case.method.upper() not in (header(response, "allow") or ""), "405 for a method that is allowed"
