"""timeseries-table-format: in process, one row per entity and interval, one second at least."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from timeseries_table_format import Session, TimeSeriesTable


class Ttf:
    def __init__(self, folder: Path, index: str, entities: list[str], granularity: str = "1s") -> None:
        self.folder = str(folder)
        self.table = TimeSeriesTable.create(
            table_root=self.folder,
            index_column=index,
            index_type="timestamp",
            index_granularity=granularity,
            entity_columns=entities,
        )

    def append(self, data: pa.Table) -> None:
        self.table.append(data)

    def session(self, name: str) -> Session:
        session = Session()
        session.register_tstable(name, self.folder)
        return session


def open_table(folder: str) -> None:
    TimeSeriesTable.open(folder)


def bulk_peak_rss(folder: Path, files: list[Path]) -> int:
    """Peak resident bytes of a fresh process that appends Arrow stream files, each read batch by batch."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import pyarrow as pa\n"
        "from coverline_bench.measure import peak_rss\n"
        "from coverline_bench.peers.ttf import Ttf\n"
        "table = Ttf(Path(sys.argv[1]), 'request_datetime', ['slot'])\n"
        "for file in sys.argv[2:]:\n"
        "    with pa.OSFile(file) as source:\n"
        "        table.append(pa.ipc.open_stream(source))\n"
        "print(peak_rss(os.getpid()))\n"
    )
    output = subprocess.check_output([sys.executable, "-c", script, str(folder), *map(str, files)], text=True)
    return int(output)
