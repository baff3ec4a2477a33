"""DuckDB's server (quack), the rival that also crosses a network. Lives in an environment of its own, since its extension
needs DuckDB 1.5."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from coverline_bench.clients import PACKAGE_ROOT, Clients
from coverline_bench.measure import free_port


class Quack:
    """A server process on its own database file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        port = free_port()
        self.address = f"quack:localhost:{port}"
        self.process = subprocess.Popen(
            [os.environ["QUACK_PYTHON"], "-m", "coverline_bench.peers.quack_server", str(folder / "quack.duckdb"), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PACKAGE_ROOT,
        )
        self._done()

    def create(self, table: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"CREATE TABLE {table} (ts TIMESTAMP, entity BIGINT, value DOUBLE)\n")
        self.process.stdin.flush()
        self._done()

    def _done(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "done\n":
            raise RuntimeError("the quack server ended; what it said is above")

    def clients(self, count: int) -> Clients:
        return Clients(os.environ["QUACK_PYTHON"], "quack", self.address, count)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
