#!/usr/bin/env bash
# Set up and run: bash scripts/run.sh [local | miner | validator] [--service] [OPTIONS]
# Without a word it runs the local network: a chain, an S3 server, miners, a cheat, validators.
# miner and validator: asks once for what is not set, checks everything, then runs the node and starts
# it again whenever it crashes; with --service it does so as a systemd user service, or under pm2.
#   bash scripts/run.sh --upgrade [TAG]     moves to the newest signed version, or to that one
#   curl -fsSL ADDRESS_OF_THIS_FILE | bash -s -- --from GIT_ADDRESS [miner ...]
#                                           clones into ./boltzmann, or uses what lies there, and goes on
set -euo pipefail

# All is in functions that the last line calls: of a download that breaks off, nothing runs.

usage() {
    echo "usage: bash scripts/run.sh [local | miner | validator] [OPTIONS]; each knows --help" >&2
    echo "       bash scripts/run.sh --upgrade [TAG]" >&2
}

# from_nothing GIT_ADDRESS OPTIONS: where this script came without the rest of the project.
from_nothing() {
    local address=$1
    shift
    if ! command -v git >/dev/null 2>&1; then
        echo "this machine lacks git: install it (sudo apt-get install git), then try again" >&2
        return 1
    fi
    if [ ! -e boltzmann/scripts/run.sh ]; then
        git clone --quiet "$address" boltzmann
    fi
    # Questions are for the terminal: standard input is this script.
    if (: </dev/tty) 2>/dev/null; then
        exec bash boltzmann/scripts/run.sh "$@" </dev/tty
    fi
    exec bash boltzmann/scripts/run.sh "$@" </dev/null
}

start() {
    local what=local service='' role='' option
    case "${1:-local}" in
    local | miner | validator)
        what=${1:-local}
        shift || true
        ;;
    --upgrade)
        shift
        upgrade "$@"
        return
        ;;
    -*) ;;
    *)
        usage
        exit 2
        ;;
    esac
    if [ "${1:-}" = --service ]; then
        service=yes
        shift
    fi

    activate_venv requirements.txt
    if [ "$what" = local ]; then
        exec .venv/bin/python -m boltzmann local "$@"
    fi
    for option in "$@"; do
        case $option in
        -h | --help) exec .venv/bin/python "$what.py" --help ;;
        esac
    done
    .venv/bin/python -m boltzmann setup "$@"
    [ "$what" = validator ] && role=--validator
    .venv/bin/python -m boltzmann doctor $role "$@"
    if [ -n "$service" ]; then
        install_service "$what" "$@"
    else
        keep_running "$what" "$@"
    fi
}

main() {
    local file=${BASH_SOURCE[0]:-}
    if [ -n "$file" ] && [ -f "$(dirname "$file")/venv.sh" ]; then
        cd "$(dirname "$file")/.."
        . scripts/venv.sh
        . scripts/supervise.sh
        . scripts/upgrade.sh
        start "$@"
    elif [ "${1:-}" = --from ] && [ $# -ge 2 ]; then
        shift
        from_nothing "$@"
    else
        echo "this script came alone: say where the project is, with --from GIT_ADDRESS as its first option" >&2
        exit 2
    fi
}

# `exit` on the same line: an upgrade may have changed the rest of this file.
main "$@"; exit
