"""What an index as large as FineWeb-Edu's takes, made up but for its size."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from boltzmann.data.files import FileFacts
from boltzmann.data.index import Index, IndexedFile
from boltzmann.data.index_file import load_index, save_index

FILES, GROUPS = 2_500, 1_500_000


def index_facts(folder: Path) -> dict[str, int | float]:
    """Bytes in memory and on disk, and seconds to save and load."""
    per_file = GROUPS // FILES
    files = tuple(
        IndexedFile(
            FileFacts(f"CC-MAIN-2024-10/train-{number:05d}.parquet", 2 << 30, os.urandom(32).hex()),
            os.urandom(32),
            True,
        )
        for number in range(FILES)
    )
    index = Index(
        "text",
        files,
        np.arange(FILES + 1, dtype=np.int64) * per_file,
        np.arange(GROUPS + 1, dtype=np.int64) * 1000,
        np.arange(GROUPS, dtype=np.int64) % per_file * 3_000_000,
        np.full(GROUPS, 2_600_000, dtype=np.int64),
        np.ones(GROUPS, dtype=np.uint8),
    )
    path = folder / "large.index"
    began = time.perf_counter()
    save_index(path, index)
    saved = time.perf_counter()
    loaded = load_index(path)
    done = time.perf_counter()
    if loaded is None or loaded.fingerprint() != index.fingerprint():
        raise RuntimeError("the index did not come back")
    return {
        "files": FILES,
        "row_groups": GROUPS,
        "memory_bytes": index.nbytes,
        "disk_bytes": path.stat().st_size,
        "save_s": round(saved - began, 3),
        "load_s": round(done - saved, 3),
    }
