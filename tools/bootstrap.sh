#!/usr/bin/env bash
# Makes .venv and installs what $1 names: server; dev, which adds what the tests need; or bench, which adds to that what
# is compared with. Every package comes from a lock, which has its hashes; sameface itself is built here. Installs nothing
# again while pyproject.toml and the locks are unchanged. Says what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
case "$1" in
    server) locks=(build server) ;;
    dev | bench) locks=(build dev) ;;
    *) echo "usage: $0 server|dev|bench" >&2; exit 2 ;;
esac

fail() { printf 'sameface: %s\n' "$*" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or 3.12 is needed and none was found on PATH (set PYTHON=/path/to/python3.11)"
}

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    echo "sameface: no local tritonserver for $(uname -s)-$(uname -m); use --inference onnx or --triton-url" >&2

# Notes what .venv was made from, and for what. dev includes server, and bench includes both.
stamp=.venv/.sameface
made_from=$(cat pyproject.toml requirements/*.lock | sha256sum | cut -c1-16)
if [ -f "$stamp" ] && .venv/bin/python -c 'import sameface' 2>/dev/null; then
    case "$(cat "$stamp") for $1" in
        "$made_from $1 for "* | "$made_from bench for "* | "$made_from dev for server") exit 0 ;;
    esac
fi

python=$(find_python)
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "the venv module is missing from $python (Debian and Ubuntu: apt-get install python3-venv)"
    echo "sameface: making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
echo "sameface: installing what requirements/$1.lock has"
tools/install_locks.sh .venv/bin/python .venv/bin/python "${locks[@]}"
# bench.lock has a package that is built: with numpy, which is there by now.
[ "$1" != bench ] || tools/install_locks.sh .venv/bin/python .venv/bin/python "${locks[@]}" bench
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --editable .
echo "$made_from $1" >"$stamp"
