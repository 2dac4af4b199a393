"""What the fuzzer is told beyond the document, and its checks: what every answer has to have, and that every error is one of the catalogue."""

import json
import os
import re

import schemathesis

UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

# Access keys that the run needs to its end.
KEPT = set(os.environ.get("FUZZ_KEPT_KEYS", "").split())

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


@schemathesis.hook
def map_query(context, query):
    """A stream of events has no end, so that no check would see its answer."""
    if query and "follow" in query:
        query.pop("follow")
    return query


def header(response, name):
    values = response.headers.get(name)
    return values[0] if values else None


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
        assert "501" in responses, "not_implemented where the document offers the call"
    if kind == "method_not_allowed":
        assert case.method.upper() not in (header(response, "allow") or ""), "405 for a method that is allowed"
