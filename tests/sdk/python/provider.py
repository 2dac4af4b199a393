"""What Terraform's provider sends: its transport, without any SDK. The tests are in `test_terraform*.py`."""

import http.client
import json
import os
import unittest
import urllib.parse
import uuid

RUN = f"tf-{uuid.uuid4().hex[:8]}"
REGION = os.environ["SCW_DEFAULT_REGION"]
ZONE = os.environ["SCW_DEFAULT_ZONE"]
PROJECT = os.environ["SCW_DEFAULT_PROJECT_ID"]
ORGANIZATION = os.environ["SCW_DEFAULT_ORGANIZATION_ID"]
VPC = f"/vpc/v2/regions/{REGION}"
TIMESTAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


class Transport(unittest.TestCase):
    """The provider's transport: one connection, Go's headers, compact bodies."""

    def setUp(self):
        url = urllib.parse.urlsplit(os.environ["SCW_API_URL"])
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(url.hostname, url.port, timeout=30)
        self.addCleanup(self.connection.close)

    def exchange(self, method, path, body=None, raw=None):
        """Status, headers and text of one exchange."""
        headers = {
            "X-Auth-Token": os.environ["SCW_SECRET_KEY"],
            "User-Agent": "scaleway-sdk-go/v1.39.0 (go1.26.0; linux; amd64) terraform-provider/develop terraform/terraform-tests",
        }
        text = raw if raw is not None else json.dumps(body, separators=(",", ":")) if body is not None else None
        if method in ("POST", "PATCH", "PUT"):
            headers["Content-Type"] = "application/json"
        self.connection.request(method, path, body=text, headers=headers)
        response = self.connection.getresponse()
        answer = response.read().decode()
        self.assertEqual(response.headers["Content-Type"], "application/json", path)
        self.assertIsNone(response.headers["X-Total-Count"])
        return response.status, response.headers, answer

    def call(self, status, method, path, body=None):
        """The parsed answer, whose status must be `status` and whose text must be compact."""
        got, headers, text = self.exchange(method, path, body)
        self.assertEqual(got, status, f"{method} {path}: {text}")
        if status == 204:
            self.assertEqual((text, headers["Content-Length"]), ("", None))
            return None
        answer = json.loads(text)
        self.assertEqual(text, json.dumps(answer, separators=(",", ":"), ensure_ascii=False))
        for name in ("created_at", "updated_at"):
            if name in answer:
                self.assertRegex(answer[name], TIMESTAMP)
        return answer

    def keys(self, answer, names):
        self.assertEqual(list(answer), names.split())

    def missing(self, path, resource, id_=None):
        answer = self.call(404, "GET", path)
        self.assertEqual(list(answer), ["message", "resource", "resource_id", "type"])
        id_ = path.rsplit("/", 1)[1] if id_ is None else id_
        self.assertEqual((answer["resource"], answer["resource_id"]), (resource, id_))
