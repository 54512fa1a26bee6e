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

# PYTHON may name another interpreter than the one that .venv was made with.
named_version() { "$1" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null; }
is_of_named_python() { [ -z "${PYTHON:-}" ] || [ "$(named_version "$PYTHON")" = "$(named_version .venv/bin/python)" ]; }

if [ -x .venv/bin/python ] && [ -f "$stamp" ] && .venv/bin/python -c '' 2>/dev/null && is_of_named_python; then
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
# Others may pass through, as root's PostgreSQL must, and read nothing.
{ [ -d .state ] || mkdir -m 711 .state; } && { [ -d .state/log ] || mkdir -m 700 .state/log; } || fail "$(pwd)/.state cannot be made: this directory must be writable."
begun=$(date +%s)
: >"$log"
if ! { [ "$(sed -n 1p .venv/.place 2>/dev/null)" = "$(pwd -P)" ] && .venv/bin/python -c '' 2>/dev/null && is_of_named_python; }; then
    say "Making .venv with $("$found" -c 'import platform, sys; print("Python", platform.python_version(), "from", sys.executable)') …"
    "$found" -m venv --without-pip --clear .venv >>"$log" 2>&1 || fail "The virtual environment could not be made. The log: $log"
    pwd -P >.venv/.place
fi

# pip only fetches uv, and stands in for it. It is run as the wheel that lies beside the interpreter: to install
# it first would take longer than all the rest.
find_pip() {
    .venv/bin/python -c '
import ensurepip, pathlib
place = getattr(ensurepip, "_WHEEL_PKG_DIR", None) or pathlib.Path(ensurepip.__file__).parent / "_bundled"
print(next(pathlib.Path(place).glob("pip-*.whl")))' 2>>"$log"
}

run_pip() { PYTHONPATH=$pip_wheel .venv/bin/python -m pip "$@"; }

pip_install() {
    run_pip install --disable-pip-version-check --no-input --no-color --progress-bar off \
        --prefer-binary --require-hashes --retries 1 --requirement "$@" >>"$log" 2>&1 </dev/null
}

# uv needs a quarter of pip's time. It does not read pip's configuration, so it is told; whatever
# it cannot do, pip is asked to do after it.
install_with_uv() {
    if ! [ -x .venv/bin/uv ]; then
        awk '/^uv==/ { inside = 1 } inside { print } inside && !/\\$/ { exit }' requirements-dev.txt >.venv/uv.txt
        pip_install .venv/uv.txt || return 1
    fi
    eval "$(run_pip config list 2>/dev/null | .venv/bin/python -c '
import ast, os, shlex, sys
names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "cert": "SSL_CERT_FILE"}
told = {}
for line in sys.stdin:
    key, _, value = line.strip().partition("=")
    name = names.get(key.rpartition(".")[2])
    if name:
        words = ast.literal_eval(value).split()
        told[name] = words[0] if name == "SSL_CERT_FILE" else ("," if name == "UV_FIND_LINKS" else " ").join(words)
for name, value in told.items():
    if name not in os.environ:
        print("export", name + "=" + shlex.quote(value))
')"
    # Like pip, it takes the best of all indexes; the hashes say which file is meant.
    .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --index-strategy unsafe-best-match \
        --link-mode copy --compile-bytecode --requirement "$requirements" >>"$log" 2>&1 </dev/null
}

pip_wheel=$(find_pip) || .venv/bin/python -m ensurepip >>"$log" 2>&1 || fail "pip could not be made ready. The log: $log"
say "Installing $(grep -c '==' "$requirements") packages …"
# The log holds what uv and pip printed; their many lines about retries are not shown. uv brings the certificates that it
# trusts. Those of the machine are tried after them: an organisation's proxy is often known to these alone.
if ! install_with_uv && ! UV_SYSTEM_CERTS=true install_with_uv && ! pip_install "$requirements"; then
    if grep -qi 'do not match the hashes' "$log"; then
        fail "A package differs from the one that was locked, so nothing was installed. The log: $log"
    fi
    if grep -qiE 'connection (refused|broken|reset|error)|failed to establish|name resolution|name or service|timed out|unreachable|ProxyError|SSLError|no matching distribution|could not fetch' "$log"; then
        fail "The package index could not be reached, or lacks a package. Check the network, or pip's settings (pip config list). The log: $log"
    fi
    fail "The packages could not be installed. The log: $log"
fi

# Last, so that an interrupted set-up is begun anew.
printf '%s %s\n' "$requirements" "$(wanted "$requirements")" >"$stamp"
say "Installed in $(($(date +%s) - begun)) s."
