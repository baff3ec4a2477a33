"""W1 trips: bulk ingest of daily files, then Q1 to Q6 over one week and X1 to X5. Coverline is asked by pyarrow.flight; what the
ADBC driver takes for the same queries stands beside it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from coverline_bench import generate
from coverline_bench.agree import require_agreement
from coverline_bench.coverline import BATCH_ROWS, Coverline
from coverline_bench.measure import Row, best, exactly, interleaved, seconds, spread
from coverline_bench.peers import arctic, chdb_, delta, duck, ttf
from coverline_bench.workloads import Context

DAYS = 14
ROWS_PER_DAY = 700_000
RSS_DAYS = 6
RSS_REPEATS = 3

WEEK_START, WEEK_END = datetime(2024, 5, 1), datetime(2024, 5, 8)
MINUTE_START, MINUTE_END = datetime(2024, 5, 3, 12), datetime(2024, 5, 3, 12, 1)
WEEK = "request_datetime >= TIMESTAMP '2024-05-01 00:00:00' AND request_datetime < TIMESTAMP '2024-05-08 00:00:00'"
MINUTE = "request_datetime >= TIMESTAMP '2024-05-03 12:00:00' AND request_datetime < TIMESTAMP '2024-05-03 12:01:00'"
QUERIES = {
    "Q1": f"SELECT * FROM trips WHERE {WEEK}",
    "Q2": f"SELECT count(*), sum(base_passenger_fare) FROM trips WHERE {WEEK}",
    "Q3": f"SELECT count(*), avg(tips) FROM trips WHERE {WEEK} AND trip_miles > 10 AND hvfhs_license_num = 'HV0003'",
    "Q4": f'SELECT "PULocationID", count(*), sum(driver_pay) FROM trips WHERE {WEEK} GROUP BY "PULocationID"',
    "Q5": f"SELECT date_trunc('hour', request_datetime) AS h, count(*) FROM trips WHERE {WEEK} GROUP BY 1",
    "Q6": "SELECT {date_bin} AS h, count(*), sum(trip_miles) FROM trips WHERE " + WEEK + " GROUP BY 1",
    "X1": "SELECT count(*) FROM trips",
    "X2": "SELECT max(request_datetime) FROM trips",
    "X3": f"SELECT * FROM trips WHERE {WEEK} ORDER BY request_datetime LIMIT 100",
    "X4": "SELECT * FROM trips ORDER BY request_datetime DESC LIMIT 10",
    "X5": f"SELECT request_datetime, trip_miles FROM trips WHERE {MINUTE}",
}
DATE_BIN = "date_bin(INTERVAL '1 hour', request_datetime, TIMESTAMP '1970-01-01')"
# Rows in any order, many equal times: which rows come first is up to the engine. Q1 is only long.
ONLY_COUNTED = ("Q1", "X3", "X4")
TIME_BUCKET = "time_bucket(INTERVAL '1 hour', request_datetime)"


def run(context: Context) -> None:
    rows = context.scaled(ROWS_PER_DAY, 1_000)
    folder = context.folder
    ours = Coverline(folder / "coverline")
    ours.create("trips", "request_datetime", "1s")
    theirs = ttf.Ttf(folder / "ttf", "request_datetime", ["slot"])
    parquet = duck.DuckParquet(folder / "parquet")
    native = duck.DuckNative(folder / "native.duckdb", "trips")
    (folder / "chdb").mkdir()
    clickhouse = chdb_.Chdb(folder / "chdb", "trips", "request_datetime")
    lake = delta.Delta(folder / "delta")
    frames = arctic.Arctic(folder / "arctic", "request_datetime")

    taken: dict[str, list[float]] = {}
    for day in range(DAYS):
        data = generate.trips(day, rows)
        for name, append in {
            "coverline": lambda data=data: ours.append("trips", data),
            "ttf": lambda data=data: theirs.append(data),
            "duckdb": lambda data=data: native.append(data),
            "chdb": lambda data=data: clickhouse.append(data),
            "delta": lambda data=data: lake.append(data),
            "arcticdb": lambda data=data: frames.append("trips", data),
        }.items():
            taken.setdefault(name, []).append(seconds(append))
        parquet.append(data)
    rates = {name: spread(rows / value / 1e6 for value in values) for name, values in taken.items()}
    context.report.add(
        Row("W1 bulk append, over Flight against in process", "Mrow/s", rates.pop("coverline"), rates, "ttf", (">=", 1.0))
    )
    clickhouse.close()
    queries(context, ours, theirs, parquet, native, frames)
    ours.close()
    peak_memory(context, folder, rows)


def queries(
    context: Context,
    ours: Coverline,
    theirs: ttf.Ttf,
    parquet: duck.DuckParquet,
    native: duck.DuckNative,
    frames: arctic.Arctic,
) -> None:
    parquet.view("trips")
    session = theirs.session("trips")
    for name, query in QUERIES.items():
        bin_query = query.replace("{date_bin}", DATE_BIN)
        bucket_query = query.replace("{date_bin}", TIME_BUCKET)
        actions = {
            "coverline": lambda: ours.sql(bin_query),
            "coverline_adbc": lambda: ours.adbc_sql(bin_query),
            "ttf": lambda: session.sql(bin_query),
            "duckdb_parquet": lambda: parquet.sql(bucket_query),
            "duckdb_native": lambda: native.sql(bucket_query),
        }
        # ArcticDB has no SQL: it takes part where a query is the read of a range.
        if name == "Q1":
            actions["arcticdb"] = lambda: frames.read("trips", start=WEEK_START, end=WEEK_END)
        elif name == "X5":
            actions["arcticdb"] = lambda: frames.read(
                "trips", ["request_datetime", "trip_miles"], MINUTE_START, MINUTE_END
            )
        answers = {who: action() for who, action in actions.items()}
        if name in ONLY_COUNTED:
            answers = {who: pa.table({"rows": [answer.num_rows]}) for who, answer in answers.items()}
        require_agreement(f"W1 {name}", answers)
        milliseconds = {who: value.scaled(1e3) for who, value in interleaved(actions, context.repeat).items()}
        mine = milliseconds.pop("coverline")
        if name.startswith("Q"):
            milliseconds["best"] = best(milliseconds, "ttf", "duckdb_parquet")
            context.report.add(Row(f"W1 {name}", "ms", mine, milliseconds, "best", ("<=", 1.5)))
        elif name == "X3":
            context.report.add(Row(f"W1 {name}", "ms", mine, milliseconds, "duckdb_native"))
        else:
            milliseconds["limit"] = exactly(10.0)
            context.report.add(Row(f"W1 {name}", "ms", mine, milliseconds, "limit", ("<=", 1.0)))


def peak_memory(context: Context, folder: Path, rows: int) -> None:
    files = []
    for day in range(RSS_DAYS):
        data = generate.trips(day, rows)
        files.append(folder / f"rss-{day}.arrows")
        with pa.OSFile(str(files[-1]), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
            writer.write_table(data, max_chunksize=BATCH_ROWS)
    mine, theirs = [], []
    for turn in range(RSS_REPEATS):
        server = Coverline(folder / f"coverline-rss-{turn}")
        server.create("trips", "request_datetime", "1s")
        for file in files:
            with pa.memory_map(str(file)) as source:
                server.append("trips", pa.ipc.open_stream(source).read_all())
        mine.append(server.peak_rss() / 1e6)
        server.close()
        theirs.append(ttf.bulk_peak_rss(folder / f"ttf-rss-{turn}", files) / 1e6)
    context.report.add(
        Row("W1 peak memory: the server against their process", "MB", spread(mine), {"ttf": spread(theirs)}, "ttf", ("<=", 1.0))
    )
