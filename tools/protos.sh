#!/usr/bin/env bash
# Generates from protos/: server/sameface/v1, and the descriptors that HTTP needs. With --check: lints, and fails if a change breaks callers or if the committed
# code is not current.
set -euo pipefail
cd "$(dirname "$0")/.."
out=server
if [ "${1:-}" = --release ]; then
    exec .venv/bin/buf build --path protos/sameface --exclude-source-info -o protos/released.binpb
fi
if [ "${1:-}" = --check ]; then
    .venv/bin/buf lint
    # Compares with the latest release; `tools/protos.sh --release` records the present contract as released.
    .venv/bin/buf breaking --against protos/released.binpb
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
.venv/bin/python -m grpc_tools.protoc -Iprotos -Iprotos/vendor \
    --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" protos/sameface/v1/*.proto
# error_details.proto, so that errors in JSON have their reasons.
mkdir -p "$out/sameface/http"
.venv/bin/python -m grpc_tools.protoc -Iprotos -Iprotos/vendor --include_imports \
    --descriptor_set_out="$out/sameface/http/descriptor.binpb" \
    protos/sameface/v1/*.proto google/rpc/error_details.proto
if [ "${1:-}" = --check ]; then
    { diff -r -x __pycache__ -x __init__.py "$out/sameface/v1" server/sameface/v1 &&
        cmp "$out/sameface/http/descriptor.binpb" server/sameface/http/descriptor.binpb; } >/dev/null || {
        echo "server/sameface/v1 or http/descriptor.binpb is not what protos/ generates; run: make protos" >&2
        exit 1
    }
fi
