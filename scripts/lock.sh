#!/usr/bin/env bash
# Write requirements.lock anew: after every change of requirements.txt.
# torch and the CUDA libraries it brings are left out: CPU and CUDA builds are different files of one version,
# and which of them a machine gets is its package index's choice.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh

activate_venv requirements.txt
.venv/bin/python -m pip install --quiet uv==0.13.9
except=(torch triton)
for name in $(.venv/bin/uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header requirements.txt |
    sed -nE 's/^((nvidia|cuda)-[a-z0-9-]+)==.*/\1/p' | sort -u); do
    except+=("$name")
done
.venv/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
    --custom-compile-command "bash scripts/lock.sh" "${except[@]/#/--no-emit-package=}" \
    requirements.txt --output-file requirements.lock
