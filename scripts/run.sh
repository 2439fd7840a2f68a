#!/usr/bin/env bash
# Set up and run: bash scripts/run.sh [local [OPTIONS] | miner [OPTIONS] | validator [OPTIONS]]
# Without a word it runs the local network: a chain, an S3 server, miners, a cheat, a validator.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh

case "${1:-local}" in
local | miner | validator)
    what=${1:-local}
    shift || true
    ;;
-*) what=local ;;
*)
    echo "usage: bash scripts/run.sh [local | miner | validator] [OPTIONS]; each knows --help" >&2
    exit 2
    ;;
esac

activate_venv requirements.txt
case "$what" in
local) exec .venv/bin/python -m boltzmann local "$@" ;;
*) exec .venv/bin/python "$what.py" "$@" ;;
esac
