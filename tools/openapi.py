"""Writes server/sameface/http/openapi.yaml from the protos, with protoc-gen-openapi.

The generator is a Go program: go install github.com/google/gnostic/cmd/protoc-gen-openapi@v0.7.1. Only who changes the
API needs it: tests/http/test_openapi.py compares the document with the protos.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "server" / "sameface" / "http" / "openapi.yaml"
GENERATOR = "protoc-gen-openapi"
OPTIONS = ["title=sameface", "version=v1", "naming=json", "fq_schema_naming=false", "enum_type=string"]
METHODS = ("get", "post", "patch", "delete")
DESCRIPTION = (
    "One-shot identity verification. The same calls as over gRPC, with the same names in lower camel case. An error is "
    "a Status, whose first detail has the `reason`. StreamIdentifyFaces has no path: it is for gRPC alone."
)


def generated() -> dict[str, Any]:
    """Return what the generator writes."""
    program = shutil.which(GENERATOR) or str(Path.home() / "go" / "bin" / GENERATOR)
    if not Path(program).is_file():
        sys.exit(
            f"openapi: {GENERATOR} is missing; run: go install github.com/google/gnostic/cmd/{GENERATOR}@v0.7.1, and "
            "put it on PATH"
        )
    with tempfile.TemporaryDirectory() as folder:
        template = {
            "version": "v2",
            "managed": {
                "enabled": True,
                "override": [{"file_option": "go_package_prefix", "value": "example.com/sameface"}],
                "disable": [{"file_option": "go_package", "path": "google"}],
            },
            "plugins": [
                {"local": program, "out": folder, "strategy": "all", "opt": [*OPTIONS, "default_response=true"]}
            ],
        }
        buf = [str(Path(sys.executable).with_name("buf")), "generate", "--template", json.dumps(template)]
        subprocess.run([*buf, "--path", "protos/sameface"], cwd=ROOT, check=True)
        document: dict[str, Any] = yaml.safe_load((Path(folder) / "openapi.yaml").read_text())
    return document


def finished(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with what the generator leaves out or gets wrong."""
    document["info"] |= {"description": DESCRIPTION, "license": {"name": "Apache-2.0"}}
    document["security"] = [{"bearer": []}, {}]
    schemas = document["components"]["schemas"]
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of an OpenID provider."}
    }
    schemas["Status"]["description"] = "An error: https://google.aip.dev/193."
    schemas["Status"]["properties"]["code"]["description"] = "The canonical code, a number of google.rpc.Code."
    schemas["Status"]["properties"]["message"]["description"] = "Says to people what was given and what to do."
    schemas["Status"]["properties"]["details"]["description"] = (
        "First a google.rpc.ErrorInfo with `reason`, `domain` and `metadata`; perhaps a BadRequest or a RetryInfo."
    )
    for methods in document["paths"].values():
        for operation in (methods[name] for name in METHODS if name in methods):
            _without_path_fields(operation, schemas)
    texts: dict[str, Any] = _cleaned(document)
    return texts


def _without_path_fields(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Remove from the schema of a body what the path gives."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    if not name.endswith("Request"):
        return
    schema = schemas[name]
    for field in ("name", "parent", "gallery"):
        if field in schema.get("required", ()) and any(one["in"] == "path" for one in operation.get("parameters", ())):
            schema["required"].remove(field)
            del schema["properties"][field]
    if not schema.get("required", True):
        del schema["required"]


def _cleaned(value: Any) -> Any:
    """Return the value with the proper format of bytes, and without the spaces that begin the lines of comments."""
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if not isinstance(value, dict):
        return value
    cleaned = {key: _cleaned(one) for key, one in value.items()}
    if cleaned.get("format") == "bytes":
        cleaned["format"] = "byte"
    if isinstance(text := cleaned.get("description"), str):
        cleaned["description"] = re.sub(r"\n (?=\S)", "\n", text).strip()
    return cleaned


def main() -> None:
    """Write the document."""
    text = yaml.safe_dump(finished(generated()), sort_keys=False, allow_unicode=True, width=120)
    OUTPUT.write_text("# Written by `make openapi` from protos/.\n" + text, encoding="utf-8")


if __name__ == "__main__":
    main()
