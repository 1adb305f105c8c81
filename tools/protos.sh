#!/usr/bin/env bash
# Generates server/sameface/v1 from protos/. With --check: lints, and fails if a change breaks callers or if the committed
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
if [ "${1:-}" = --check ]; then
    diff -r -x __pycache__ -x __init__.py "$out/sameface/v1" server/sameface/v1 >/dev/null || {
        echo "server/sameface/v1 is not what protos/ generates; run: make protos" >&2
        exit 1
    }
fi
