#!/bin/sh
# Installs the independent Kinesis servers and client of the tests into .cache/: kinesis-local by npm, moto and boto3 by pip.
# Versions are pinned by package-lock.json and requirements.txt beside this file. What is there in those versions already is left
# as it is, so calling this again costs nothing. Needs node 18 with npm, and Python 3.10 with pip.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache
mkdir -p "$cache"

# Two at once would install over each other; where there is no flock, whoever calls this calls it once.
if [ "${INDEPENDENT_LOCKED:-}" != yes ] && command -v flock >/dev/null 2>&1; then
    INDEPENDENT_LOCKED=yes exec flock "$cache/independent.lock" sh "$here/install.sh" "$@"
fi

need() {
    command -v "$1" >/dev/null 2>&1 && return
    echo "independent: $1 is not installed; the conformance tests need $2" >&2
    exit 1
}

# Says whether DIRECTORY was installed from exactly these files.
is_current() {
    [ -f "$1/.installed-from" ] && [ "$(cat "$1/.installed-from")" = "$2" ]
}

need node "node 18 or later (package nodejs) for kinesis-local"
need npm "npm (package npm) for kinesis-local"
need python3 "Python 3.10 or later (package python3) for moto and boto3"

node_key=$(cat "$here/package.json" "$here/package-lock.json" "$here/.npmrc" | cksum)
if ! is_current "$cache/node" "$node_key"; then
    echo "independent: installing kinesis-local into .cache/node" >&2
    rm -rf "$cache/node"
    mkdir -p "$cache/node"
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$cache/node/"
    (cd "$cache/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    echo "$node_key" >"$cache/node/.installed-from"
fi

# The interpreter belongs to the key: what was installed for one is not found by another.
python_key="$(cksum <"$here/requirements.txt") $(python3 -c 'import sys; print(sys.version)' | tr -d '\n')"
if ! is_current "$cache/venv" "$python_key"; then
    echo "independent: installing moto and boto3 into .cache/venv" >&2
    rm -rf "$cache/venv"
    if python3 -m venv "$cache/venv" >/dev/null 2>&1; then
        "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    else
        # Some distributions ship Python without ensurepip. Then packages go into a folder, and a wrapper stands for the venv's python.
        rm -rf "$cache/venv"
        python3 -m pip --version >/dev/null 2>&1 || {
            echo "independent: python3 has neither venv nor pip; install the package python3-venv (or python3-pip)" >&2
            exit 1
        }
        mkdir -p "$cache/venv/bin" "$cache/venv/packages"
        python3 -m pip install --quiet --disable-pip-version-check --target "$cache/venv/packages" \
            -r "$here/requirements.txt" >&2
        cat >"$cache/venv/bin/python" <<'WRAPPER'
#!/bin/sh
PYTHONPATH=$(cd "$(dirname "$0")/.." && pwd)/packages exec python3 "$@"
WRAPPER
        chmod +x "$cache/venv/bin/python"
    fi
    echo "$python_key" >"$cache/venv/.installed-from"
fi
