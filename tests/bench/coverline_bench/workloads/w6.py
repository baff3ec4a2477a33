"""W6 transport: DoGet and DoPut of trip rows against a bare arrow-flight server with the same socket settings, which keeps
the rows in memory and stores nothing. Both are asked by pyarrow.flight; ADBC can only talk to Coverline, and has a figure of its own.
"file" is this process writing the same rows to a file and syncing it: no server that acknowledges what is durable is faster."""

from __future__ import annotations

import atexit
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq

from coverline_bench import generate
from coverline_bench.coverline import BATCH_ROWS, Coverline, append
from coverline_bench.measure import Row, Spread, cpu_seconds, interleaved
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

    query = "SELECT * FROM trips"
    busy = {"coverline": 0.0, "bare": 0.0}

    def counted(name: str, process: subprocess.Popen, action: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            before = cpu_seconds(process.pid)
            action()
            busy[name] += cpu_seconds(process.pid) - before

        return run

    def note_busy(what: str) -> None:
        """A server's processor time hardly depends on what else the machine does."""
        spent = ", ".join(f"{name} {value / gigabytes / (context.repeat + 1):.2f}" for name, value in busy.items())
        context.report.note(f"W6 {what}: processor seconds of the server per GB: {spent}")
        busy.update(dict.fromkeys(busy, 0.0))

    actions = {
        "coverline": counted("coverline", ours.process, lambda: ours.sql(query)),
        "adbc": lambda: ours.adbc_sql(query),
        "bare": counted("bare", bare, lambda: bare_client.do_get(flight.Ticket(b"rows")).read_all()),
    }
    rates = {name: rate(gigabytes, value) for name, value in interleaved(actions, context.repeat).items()}
    mine = rates.pop("coverline")
    context.report.add(Row("W6 DoGet (Coverline decodes Parquet)", "GB/s", mine, rates, "bare", (">=", 0.7)))
    note_busy("DoGet")
    number = iter(range(1_000_000))

    def put() -> None:
        table = f"put_{next(number)}"
        ours.create(table, "request_datetime", "1s")
        append(ours.flight, table, data)

    def write_file() -> None:
        with open(context.folder / "rows.arrows", "wb") as sink:
            with pa.ipc.new_stream(sink, data.schema) as writer:
                writer.write_table(data, max_chunksize=BATCH_ROWS)
            sink.flush()
            os.fsync(sink.fileno())

    actions = {
        "coverline": counted("coverline", ours.process, put),
        "bare": counted("bare", bare, lambda: append(bare_client, "rows", data)),
        "file": write_file,
    }
    rates = {name: rate(gigabytes, value) for name, value in interleaved(actions, context.repeat).items()}
    mine = rates.pop("coverline")
    context.report.add(Row("W6 DoPut (Coverline encodes Parquet and syncs)", "GB/s", mine, rates, "bare", (">=", 0.7)))
    note_busy("DoPut")

    # What the way in costs by itself: a repeat is decoded, checked and digested like any append, and nothing is written.
    ours.create("again", "request_datetime", "1s")
    append(ours.flight, "again", data, append_id="w6")
    actions = {
        "coverline": counted("coverline", ours.process, lambda: append(ours.flight, "again", data, append_id="w6")),
        "bare": counted("bare", bare, lambda: append(bare_client, "rows", data)),
    }
    rates = {name: rate(gigabytes, value) for name, value in interleaved(actions, context.repeat).items()}
    mine = rates.pop("coverline")
    context.report.add(Row("W6 DoPut of a repeat (nothing is written)", "GB/s", mine, rates, "bare"))
    note_busy("DoPut of a repeat")
    ours.close()
    bare.kill()
    bare.wait()


def rate(amount: float, seconds: Spread) -> Spread:
    return Spread(amount / seconds.median, amount / seconds.greatest, amount / seconds.least)


def bare_server() -> str:
    return str(Path(os.environ["COVERLINE_BIN"]).with_name("bare-flight"))
