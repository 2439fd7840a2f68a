#!/usr/bin/env bash
# Set up and run every check: lint, format, types, tests. With options, pytest runs once, with them; without,
# the networks of real processes one after another, and all other tests beside them in the time they leave.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh

activate_venv requirements-dev.txt
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
if [ $# -gt 0 ]; then
    exec .venv/bin/python -m pytest "$@"
fi
said=$(mktemp)
# Networks keep to the wall's clock, so the others must yield to them.
nice -n 10 .venv/bin/python -m pytest -m "not scenario" --numprocesses 2 --dist loadfile > "$said" 2>&1 &
others=$!
trap 'kill "$others" 2> /dev/null || true; rm -f "$said"' EXIT
echo "the networks; what the other tests say, which run beside them, comes at the end"
failed=0
.venv/bin/python -m pytest -m scenario --durations 12 || failed=$?
wait "$others" || failed=$?
cat "$said"
exit "$failed"
