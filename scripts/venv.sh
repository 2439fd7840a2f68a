# Sourced by run.sh and test.sh: a virtual environment in .venv with a requirements file installed.
# What requirements.lock names is taken only with the sha256 it says; torch comes after it, by version.
# Nothing is done when the files are unchanged since the last complete install.

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "boltzmann needs Python 3.10 to 3.13; none of them is on the PATH: install one, or set PYTHON" >&2
    return 1
}

# may_install PACKAGE...: as Debian packages, where this user may without being asked for a password.
may_install() {
    local root=
    if command -v apt-get >/dev/null 2>&1; then
        if [ "$(id -u)" -ne 0 ]; then
            if ! sudo -n true 2>/dev/null; then
                echo "this machine lacks $*: sudo apt-get install $*" >&2
                return 1
            fi
            root=sudo
        fi
        echo "installing $*" >&2
        $root apt-get update -qq && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
    else
        echo "this machine lacks $*: install it with the system's package manager" >&2
        return 1
    fi
}

# write_command: `boltzmann` for whoever activates the environment, run from this folder's code.
write_command() {
    printf '#!/bin/sh\nPYTHONPATH="%s${PYTHONPATH:+:$PYTHONPATH}" exec "%s/.venv/bin/python" -m boltzmann "$@"\n' \
        "$PWD" "$PWD" >.venv/bin/boltzmann
    chmod +x .venv/bin/boltzmann
}

# requirements_stamp: what an environment that has these requirements remembers them by.
requirements_stamp() {
    cat requirements*.txt requirements.lock |
        .venv/bin/python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# activate_venv REQUIREMENTS
activate_venv() {
    local python stamp
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python) || return 1
        "$python" -c 'import ensurepip, venv' 2>/dev/null || may_install "$(basename "$python")-venv" || return 1
        echo "making a virtual environment in .venv with $("$python" --version)"
        "$python" -m venv .venv
    fi
    stamp=$(requirements_stamp)
    if [ "$(cat ".venv/$1.installed" 2>/dev/null)" != "$stamp" ]; then
        echo "installing $1 (the first time this takes some minutes)"
        .venv/bin/python -m pip install --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
        .venv/bin/python -m pip install --disable-pip-version-check -r "$1"
        echo "$stamp" >".venv/$1.installed"
    fi
    write_command
}
