#!/usr/bin/env bash
# Makes .venv and installs sameface with the extras given as $1 (for instance "server" or "server,dev").
# Installs nothing again while pyproject.toml and constraints.txt are unchanged. Says what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=$1

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

# Notes what .venv was made from, and with which extras. "server,dev" includes "server".
stamp=.venv/.sameface
made_from=$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
if [ -f "$stamp" ] && .venv/bin/python -c 'import sameface' 2>/dev/null; then
    case "$(cat "$stamp")" in
        "$made_from $extras" | "$made_from $extras,"*) exit 0 ;;
    esac
fi

python=$(find_python)
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "the venv module is missing from $python (Debian and Ubuntu: apt-get install python3-venv)"
    echo "sameface: making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
echo "sameface: installing .[$extras]"
pip() { .venv/bin/python -m pip "$@"; }
requested=(-c constraints.txt -e ".[$extras]")

# uv needs a fifth of pip's processor time and keeps unpacked packages for the next .venv. It does not read pip's
# configuration. So this passes on pip's folders of wheels, and uses pip if pip has an index configured.
install_with_uv() {
    local configured folders
    configured=$(pip config list)
    ! grep -q 'index' <<<"$configured" || return 1
    pip install --quiet --disable-pip-version-check -c constraints.txt uv || return 1
    folders=$(sed -n "s/^[^=]*find-links='\(.*\)'$/\1/p" <<<"$configured" | sed 's/\\n/ /g' | xargs | tr ' ' ',')
    UV_FIND_LINKS="${UV_FIND_LINKS:-$folders}" .venv/bin/uv pip install --quiet --python .venv/bin/python "${requested[@]}"
}

# Python writes byte code at the first import. Most installed modules are never imported.
install_with_uv || pip install --quiet --disable-pip-version-check --no-compile "${requested[@]}"
echo "$made_from $extras" >"$stamp"
