#!/usr/bin/env bash
# install_locks.sh TOOLS TARGET LOCK...: installs every package of the locks into the environment of the Python TARGET.
# Packages come as wheels, and only with a hash that a lock has. TOOLS is the Python that gets the installer, uv.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$1 target=$2
shift 2
export PIP_DISABLE_PIP_VERSION_CHECK=1
locked=(--quiet --require-hashes --only-binary :all:)
for lock in "$@"; do
    locked+=(--requirement "requirements/$lock.lock")
    # hnswlib has no wheel. It is built with what build.lock has.
    [ "$lock" != bench ] || locked+=(--no-binary hnswlib --no-build-isolation)
done

# uv needs a fifth of pip's processor time and keeps unpacked packages for the next environment. It does not read pip's
# configuration. So this passes on pip's folders of wheels, and uses pip if pip has an index configured.
configured=$("$tools" -m pip config list)
if grep -q index <<<"$configured"; then
    # Python writes byte code at the first import. Most installed modules are never imported.
    exec "$tools" -m pip --python "$target" install --no-compile "${locked[@]}"
fi
"$tools" -m pip install --quiet --require-hashes --only-binary :all: --requirement requirements/installer.lock
folders=$(sed -n "s/^[^=]*find-links='\(.*\)'$/\1/p" <<<"$configured" | sed 's/\\n/ /g' | xargs | tr ' ' ',')
UV_FIND_LINKS="${UV_FIND_LINKS:-$folders}" exec "$(dirname "$tools")/uv" pip install --python "$target" "${locked[@]}"
