"""Coverline as a user runs it: a server process, and stock clients over loopback: pyarrow.flight, and ADBC for what has no rows."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import adbc_driver_flightsql.dbapi
import psutil
import pyarrow as pa
import pyarrow.flight as flight

from coverline_bench.clients import Clients
from coverline_bench.measure import peak_rss

BATCH_ROWS = 65_536


class Coverline:
    """A server on its own folder and a client connected to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open_seconds = 0.0
        self._start()

    def _start(self) -> None:
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [os.environ["COVERLINE_BIN"], "serve", "--listen", "127.0.0.1:0", "--data-dir", str(self.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        # A run that ends with an error leaves no server behind.
        atexit.register(self.process.kill)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"coverline did not start: {line!r}")
        self.url = line.split()[-1]
        self.flight = flight.connect(self.url)
        self.sql_connection = adbc_driver_flightsql.dbapi.connect(self.url, autocommit=True)
        self.open_seconds = time.perf_counter() - begun

    def close(self) -> None:
        self.sql_connection.close()
        self.flight.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def restart(self) -> None:
        self.close()
        self._start()

    def peak_rss(self) -> int:
        """Peak resident bytes of the server process."""
        return peak_rss(self.process.pid)

    def rss(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def clients(self, count: int, kind: str = "coverline") -> Clients:
        """Clients of their own processes; `kind` is a module of `clients`: "coverline" (stock pyarrow) or "wire"."""
        return Clients(sys.executable, kind, self.url, count)

    def create(self, table: str, index: str, bucket: str, entities: Iterable[str] = ()) -> None:
        options = f"index_column = '{index}', bucket = '{bucket}'"
        if names := ",".join(entities):
            options += f", entity_columns = '{names}'"
        self.execute(f"CREATE TABLE {table} WITH ({options})")

    def execute(self, sql: str) -> None:
        with self.sql_connection.cursor() as cursor:
            cursor.execute(sql)
            if cursor.description:
                cursor.fetchall()

    def append(self, table: str, data: pa.Table) -> None:
        append(self.flight, table, data)

    def sql(self, query: str) -> pa.Table:
        """A query by pyarrow.flight, whose client is C++."""
        info = self.flight.get_flight_info(flight.FlightDescriptor.for_command(query.encode()))
        return self.flight.do_get(info.endpoints[0].ticket).read_all()

    def adbc_sql(self, query: str) -> pa.Table:
        """The same by the ADBC driver, whose client is Go."""
        with self.sql_connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetch_arrow_table()


def append(client: flight.FlightClient, table: str, data: pa.Table, append_id: str | None = None) -> None:
    """One plain DoPut with a PATH descriptor; returns when the receipt is here."""
    headers = [] if append_id is None else [(b"x-coverline-append-id", append_id.encode())]
    options = flight.FlightCallOptions(headers=headers)
    writer, reader = client.do_put(flight.FlightDescriptor.for_path(table), data.schema, options)
    for batch in data.to_batches(max_chunksize=BATCH_ROWS):
        writer.write_batch(batch)
    writer.done_writing()
    receipt = reader.read()
    writer.close()
    if receipt is None:
        raise RuntimeError("no receipt")
