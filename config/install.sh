#!/bin/sh
# Make .venv and install one file of locked requirements into it; do nothing if that is done already.
#
#   sh config/install.sh requirements.txt
#
# PYTHON= names the interpreter; else the first suitable one is taken. pip is used as the machine
# configures it (pip.conf, PIP_INDEX_URL, proxies), and every package must have the hash of the lock.
set -u
requirements=$1
stamp=.venv/.installed
log=.state/log/pip.log

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

# --- Nothing to do? ---------------------------------------------------------------------------
# A virtual environment knows where it stands, and stops working elsewhere: the place belongs to the stamp.
wanted() { { pwd -P; cat "$1"; } | cksum; }

if [ -x .venv/bin/python ] && [ -f "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then
    # What the tests need includes what Coppice runs on.
    for complete in "$requirements" requirements-dev.txt; do
        if grep -qxF "$complete $(wanted "$complete")" "$stamp"; then
            exit 0
        fi
    done
fi

# --- An interpreter ---------------------------------------------------------------------------
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
makes_environments() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON cannot be found."
    is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON does not run, or is older than Python 3.11."
    candidates=$PYTHON
else
    candidates="python3 python3.14 python3.13 python3.12 python3.11"
fi

found=
bare=
for candidate in $candidates; do
    if is_new_enough "$candidate"; then
        if makes_environments "$candidate"; then
            found=$candidate
            break
        fi
        bare=${bare:-$candidate}
    fi
done

if [ -z "$found" ] && [ -n "$bare" ]; then
    version=$("$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fail "Python $version is here, but its venv module is not. Debian, Ubuntu: apt-get install -y python$version-venv"
fi
[ -n "$found" ] || fail "Coppice needs Python 3.11 or newer, and none was found. Debian, Ubuntu: apt-get install -y python3 python3-venv. \
Or name one: make setup PYTHON=/path/to/python3"

# --- The environment and its packages ---------------------------------------------------------
mkdir -p .state/log || fail "$(pwd)/.state cannot be made: this directory must be writable."
begun=$(date +%s)
say "Making .venv with $("$found" -c 'import platform, sys; print("Python", platform.python_version(), "from", sys.executable)') …"
if ! "$found" -m venv --clear .venv >"$log" 2>&1; then
    fail "The virtual environment could not be made. The log: $log"
fi

say "Installing $(grep -c '==' "$requirements") packages …"
# The log holds what pip printed; its many lines about retries are not shown.
if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --no-color --progress-bar off \
    --prefer-binary --require-hashes --retries 2 --requirement "$requirements" >"$log" 2>&1 </dev/null; then
    if grep -qiE 'connection (refused|broken|reset|error)|failed to establish|name resolution|name or service|timed out|network is unreachable|ProxyError|SSLError|no matching distribution|could not fetch' "$log"; then
        fail "The package index could not be reached, or lacks a package, so nothing was installed. Check the network, or pip's \
index settings (pip config list). pip's log: $log"
    fi
    if grep -qi 'do not match the hashes' "$log"; then
        fail "A package differs from the one that was locked, so nothing was installed. pip's log: $log"
    fi
    fail "pip could not install the packages. Its log: $log"
fi

# Last, so that an interrupted set-up is begun anew.
printf '%s %s\n' "$requirements" "$(wanted "$requirements")" >"$stamp"
say "Installed in $(($(date +%s) - begun)) s."
