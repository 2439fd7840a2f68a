#!/usr/bin/env bash
# Set up and run every check: lint, format, types, tests. With options, pytest runs once, with them;
# without, first the tests that share the machine well, then the networks of real processes.
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
.venv/bin/python -m pytest -m "not scenario" --numprocesses 2 --dist loadfile
exec .venv/bin/python -m pytest -m scenario --durations 12
