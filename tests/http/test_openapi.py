"""The OpenAPI document tells what the protos tell. `make openapi` writes it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from openapi_spec_validator import validate

from sameface.http.server import DESCRIPTOR, OPENAPI
from tests.access.test_roles import METHODS
from tests.http.calls import REST

OLD = "run: make openapi"
VARIABLE = re.compile(r"\{([\w.]+)=([^}]*)\}")
SINGULAR = {
    "galleries": "gallery",
    "identities": "identity",
    "templates": "template",
    "migrations": "migration",
    "erasureReceipts": "erasureReceipt",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document."""
    read: dict[str, Any] = yaml.load(OPENAPI.read_text(), yaml.CSafeLoader)  # safe
    return read


def path_of(template: str) -> str:
    """The path of an rpc as OpenAPI has it."""

    def plain(found: re.Match[str]) -> str:
        parts = found[2].split("/")
        return "/".join(
            f"{{{SINGULAR[parts[place - 1]]}}}" if part == "*" else part for place, part in enumerate(parts)
        )

    return VARIABLE.sub(plain, template)


def messages() -> Iterator[Descriptor]:
    """Every message that a call with a path may hold, by way of its fields."""
    waiting = [one for rpc in REST for one in (METHODS[rpc].input_type, METHODS[rpc].output_type)]
    seen = set()
    while waiting:
        message = waiting.pop()
        if message.full_name in seen or not message.full_name.startswith("sameface."):
            continue
        seen.add(message.full_name)
        yield message
        waiting += [field.message_type for field in message.fields if field.message_type is not None]


def test_it_is_a_valid_document(document: dict[str, Any]) -> None:
    validate(document)
    assert document["security"] == [{"bearer": []}, {}]
    assert "format: bytes" not in OPENAPI.read_text()


def test_it_has_every_call_with_a_path_and_no_other(document: dict[str, Any]) -> None:
    told = {
        (path, verb): one["operationId"] for path, verbs in document["paths"].items() for verb, one in verbs.items()
    }
    expected = {
        (path_of(path), verb): f"{METHODS[rpc].containing_service.name}_{rpc}" for rpc, (verb, path, _) in REST.items()
    }
    assert told == expected, OLD


@pytest.mark.parametrize("rpc", REST)
def test_each_call_has_its_parameters_and_its_body(rpc: str, document: dict[str, Any]) -> None:
    verb, template, body = REST[rpc]
    operation = document["paths"][path_of(template)][verb]
    in_query = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    in_path = {found[1].partition(".")[0] for found in VARIABLE.finditer(template)}
    fields = {field.name: field for field in METHODS[rpc].input_type.fields}
    left = {field.json_name for name, field in fields.items() if name not in in_path | {body} and not is_map(field)}
    assert in_query == (set() if body == "*" else left), OLD
    assert ("requestBody" in operation) is bool(body)
    if body == "*":
        schema = document["components"]["schemas"][METHODS[rpc].input_type.name]
        assert set(schema.get("properties", {})) == {
            one.json_name for one in fields.values() if one.name not in in_path
        }


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def test_each_message_has_its_fields_and_each_enum_its_values(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    inputs = {METHODS[rpc].input_type.full_name for rpc in REST}
    compared = 0
    for message in messages():
        if message.full_name in inputs or message.GetOptions().map_entry:
            continue
        name = message.full_name.removeprefix("sameface.v1.").replace(".", "_")
        properties = schemas[name].get("properties", {})
        assert set(properties) == {field.json_name for field in message.fields}, f"{name}: {OLD}"
        for field in message.fields:
            if field.enum_type is not None:
                told = properties[field.json_name]
                values = told.get("enum") or told["items"]["enum"]
                assert values == [value.name for value in field.enum_type.values], f"{name}.{field.name}: {OLD}"
            compared += 1
    assert compared > 150


def test_its_texts_are_the_comments_of_the_protos(document: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "set.binpb"
    protos = sorted(map(str, Path("protos/sameface/v1").glob("*.proto")))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", "-Iprotos/vendor", "--include_source_info"]
    subprocess.run([*command, f"--descriptor_set_out={output}", *protos], check=True)
    operations = {one["operationId"]: one for verbs in document["paths"].values() for one in verbs.values()}
    schemas, compared = document["components"]["schemas"], 0
    for file in descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file:
        for location in file.source_code_info.location:
            path, comment = list(location.path), location.leading_comments
            if len(path) == 4 and path[0] == 6 and path[2] == 2:
                service = file.service[path[1]]
                told = operations.get(f"{service.name}_{service.method[path[3]].name}")
            elif len(path) == 4 and path[0] == 4 and path[2] == 2:
                message = file.message_type[path[1]]
                told = schemas.get(message.name, {}).get("properties", {}).get(message.field[path[3]].json_name)
            else:
                continue
            if told is not None and comment and "description" in told:
                assert "".join(told["description"].split()) == "".join(comment.split()), OLD
                compared += 1
    assert compared > 150


def test_the_descriptors_of_envoy_are_those_of_the_service() -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR.read_bytes()).file
    methods = {method.name for file in files for service in file.service for method in service.method}
    assert methods == set(METHODS)
    assert "google/rpc/error_details.proto" in {file.name for file in files}
