"""W6 transport: DoGet and DoPut of trip rows against a bare arrow-flight server with the same socket settings, which keeps
the rows in memory and stores nothing."""

from __future__ import annotations

import atexit
import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq

from coverline_bench import generate
from coverline_bench.coverline import Coverline, append
from coverline_bench.measure import Row, Spread, interleaved
from coverline_bench.workloads import Context

ROWS = 700_000


def run(context: Context) -> None:
    if not Path(bare_server()).exists():
        context.report.note(f"SKIPPED: W6, as there is no {bare_server()}; cargo build --release -p bare-flight makes it")
        return
    data = generate.trips(0, context.scaled(ROWS, 10_000))
    context.folder.mkdir(parents=True, exist_ok=True)
    file = context.folder / "rows.parquet"
    pq.write_table(data, file)
    bare = subprocess.Popen([bare_server(), str(file)], stdout=subprocess.PIPE, text=True)
    atexit.register(bare.kill)
    assert bare.stdout is not None
    bare_client = flight.connect(bare.stdout.readline().split()[-1])
    ours = Coverline(context.folder / "coverline")
    ours.create("trips", "request_datetime", "1s")
    ours.append("trips", data)
    gigabytes = data.nbytes / 1e9

    def get() -> pa.Table:
        return ours.sql("SELECT * FROM trips")

    taken = interleaved({"coverline": get, "bare": lambda: bare_client.do_get(flight.Ticket(b"rows")).read_all()}, context.repeat)
    rates = {name: rate(gigabytes, value) for name, value in taken.items()}
    context.report.add(
        Row("W6 DoGet (Coverline decodes Parquet)", "GB/s", rates["coverline"], {"bare": rates["bare"]}, "bare", (">=", 0.7))
    )
    number = iter(range(1_000_000))

    def put() -> None:
        table = f"put_{next(number)}"
        ours.create(table, "request_datetime", "1s")
        append(ours.flight, table, data)

    taken = interleaved({"coverline": put, "bare": lambda: append(bare_client, "rows", data)}, context.repeat)
    rates = {name: rate(gigabytes, value) for name, value in taken.items()}
    mine, bound = rates["coverline"], {"bare": rates["bare"]}
    context.report.add(Row("W6 DoPut (Coverline encodes Parquet and syncs)", "GB/s", mine, bound, "bare", (">=", 0.7)))
    ours.close()
    bare.kill()
    bare.wait()


def rate(amount: float, seconds: Spread) -> Spread:
    return Spread(amount / seconds.median, amount / seconds.greatest, amount / seconds.least)


def bare_server() -> str:
    return str(Path(os.environ["COVERLINE_BIN"]).with_name("bare-flight"))
