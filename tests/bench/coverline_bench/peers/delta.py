"""delta-rs in process. Commits are not fsynced."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake


class Delta:
    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def append(self, data: pa.Table) -> None:
        write_deltalake(self.folder, data, mode="append")
