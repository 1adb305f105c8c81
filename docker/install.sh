#!/usr/bin/env bash
# Installs sameface into $1/venv, and builds the models into $1/model_repository. The images contain both.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1

"${PYTHON:-python3}" -m venv "$target/venv"
"$target/venv/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    -c constraints.txt ".[server]"
SAMEFACE_MODEL_REPOSITORY=$target/model_repository SAMEFACE_CACHE_DIR=$target/cache \
    "$target/venv/bin/sameface" model build
# onnx is needed to build the models, but not to serve them.
"$target/venv/bin/python" -m pip uninstall --quiet --yes onnx
rm -rf "$target/cache"
