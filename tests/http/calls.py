"""Calls over HTTP, made from the same messages as those over gRPC."""

import re
from typing import Any

import httpx
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor

from tests.access.test_roles import METHODS

VERBS = ("get", "post", "patch", "delete")
_VARIABLE = re.compile(r"\{([\w.]+)=[^}]*\}")


def rule_of(method: MethodDescriptor) -> tuple[str, str, str] | None:
    """Verb, path and body of an rpc; None if it has no path."""
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return None
    rule = options.Extensions[annotations_pb2.http]
    verb = next(one for one in VERBS if getattr(rule, one))
    return verb, getattr(rule, verb), rule.body


REST = {rpc: rule for rpc, method in METHODS.items() if (rule := rule_of(method)) is not None}
"""The rpcs that have paths."""


async def call(client: httpx.AsyncClient, rpc: str, message: Any, key: str = "") -> httpx.Response:
    """Make a call with a message of the rpc."""
    verb, template, body = REST[rpc]
    path = _VARIABLE.sub(lambda found: _named(message, found[1]) or "erasureReceipts/none", template)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    content = json_format.MessageToDict(message)
    if not body:
        query = {name: value for name, value in content.items() if f"{{{name}=" not in template}
        return await client.request(verb, path, params=query, headers=headers)
    sent = content if body == "*" else content.get(body, {})
    return await client.request(verb, path, json=sent, headers=headers)


def _named(message: Any, field: str) -> str:
    for name in field.split("."):
        message = getattr(message, name)
    return str(message)


def reason(answer: httpx.Response) -> str:
    """The reason of an error; empty for success."""
    if answer.status_code == 200:
        return ""
    details = answer.json()["details"]
    return str(next(one["reason"] for one in details if one["@type"].endswith("google.rpc.ErrorInfo")))
