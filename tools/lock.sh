#!/usr/bin/env bash
# Writes the locks: every package that is installed here, with its version and the SHA-256 of its files. Versions stay as
# they are where pyproject.toml still allows them. Options of `uv pip compile` change that: --upgrade takes the newest of
# all, --upgrade-package NAME that of one.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Writes $1, a lock. Only wheels: building a package runs its code, with build tools that no lock has. hnswlib has no
# wheel; it is built with what build.lock has. The versions that are in the file stay.
compile() {
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11.5 --generate-hashes --no-header \
        --only-binary :all: --no-binary hnswlib -o "$@" >/dev/null
    # uv lists at the end what was left out.
    sed -i '/^$/,$d' "$1"
}

# First all together, so that the locks fit each other. Each then begins with these versions.
server=(--extra server)
dev=("${server[@]}" --extra train --extra dev)
bench=("${dev[@]}" --extra bench)
cat requirements/*.lock >"$work/all" 2>/dev/null || true
compile "$work/all" "${bench[@]}" "$@" pyproject.toml
for lock in image image-onnx server dev bench build installer; do cp "$work/all" "$work/$lock"; done
compile "$work/image" --extra image --extra traces pyproject.toml
# Only what it adds to image.lock.
mapfile -t present < <(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package=\1/p' "$work/image")
compile "$work/image-onnx" --extra image-onnx "${present[@]}" pyproject.toml
compile "$work/server" "${server[@]}" pyproject.toml
compile "$work/dev" "${dev[@]}" pyproject.toml
# Only what it adds to dev.lock.
mapfile -t present < <(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package=\1/p' "$work/dev")
compile "$work/bench" "${bench[@]}" "${present[@]}" pyproject.toml
compile "$work/build" requirements/build.in
compile "$work/installer" requirements/installer.in
for lock in image image-onnx server dev bench build installer; do cp "$work/$lock" "requirements/$lock.lock"; done

# What is apart from the service: packages in environments of their own, and packages of which one file is used.
compile server/sameface/inference/local/tritonserver.lock --no-deps server/sameface/inference/local/tritonserver.in
compile server/sameface/inference/local/backend.lock server/sameface/inference/local/backend.in
compile server/sameface/inference/local/openvino.lock --no-deps server/sameface/inference/local/openvino.in
compile server/sameface/models/source.lock --no-deps server/sameface/models/source.in
compile tests/models/old_runtime.lock --no-deps tests/models/old_runtime.in

# What the benchmarks compare with. The one package without a wheel holds the models of face_recognition.
for peer in opencv deepface; do compile "benchmarks/peers/$peer.lock" "benchmarks/peers/$peer.in"; done
compile benchmarks/peers/face_recognition.lock --no-deps benchmarks/peers/face_recognition.in
compile benchmarks/peers/face_recognition_models.lock --no-deps --no-binary face-recognition-models \
    benchmarks/peers/face_recognition_models.in
