#!/usr/bin/env bash
# Set up and run: bash scripts/run.sh [local | miner | validator] [--service] [OPTIONS]
# Without a word it runs the local network: a chain, an S3 server, miners, a cheat, validators.
# miner and validator: asks once for what is not set, checks everything, then runs the node and starts
# it again whenever it crashes; with --service it does so as a systemd user service, or under pm2.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh
. scripts/supervise.sh

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

service=
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
role=
[ "$what" = validator ] && role=--validator
.venv/bin/python -m boltzmann doctor $role "$@"
if [ -n "$service" ]; then
    install_service "$what" "$@"
else
    keep_running "$what" "$@"
fi
