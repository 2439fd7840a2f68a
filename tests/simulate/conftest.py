"""The store's contract is tested in tests/adapters; its tests are run on the store in memory too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "adapters"))
