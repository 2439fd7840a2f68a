"""One process per node folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from boltzmann.app.lock import only_process
from boltzmann.errors import ConfigError


def test_a_second_process_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from boltzmann.app.lock import only_process\n"
        "with only_process(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match="another process of this hotkey"), only_process(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with only_process(tmp_path):
        pass
