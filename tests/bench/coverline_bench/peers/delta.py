"""delta-rs in process. Commits are not fsynced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake


class Delta:
    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def append(self, data: pa.Table) -> None:
        write_deltalake(self.folder, data, mode="append")

    def session(self, name: str) -> Callable[[str], pa.Table]:
        builder = QueryBuilder().register(name, DeltaTable(self.folder))
        return lambda query: pa.table(builder.execute(query).read_all())
