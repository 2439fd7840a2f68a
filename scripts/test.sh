#!/usr/bin/env bash
# Set up and run every check: lint, format, types, tests. Options go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh

activate_venv requirements-dev.txt
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
exec .venv/bin/python -m pytest "$@"
