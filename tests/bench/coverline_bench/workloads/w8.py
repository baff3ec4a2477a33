"""W8 questions of time: what is missing in a large table, the last row of every entity, the rows that no data stands for, and the
nearest row of another table. Where no peer has the question, the target is some work of Coverline's own: reading the newest rows
for the last ones, plain grouping for gap filling. DuckDB has an ASOF JOIN, here over its own storage."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from coverline_bench.agree import require_agreement
from coverline_bench.coverline import Coverline
from coverline_bench.generate import SEED
from coverline_bench.measure import Row, Spread, exactly, interleaved
from coverline_bench.peers import duck
from coverline_bench.workloads import Context

SECOND = 1_000_000
HOUR = 3_600 * SECOND
# 2025-01-01T00:00Z
START = 1_735_689_600 * SECOND

GAP_ENTITIES = 100_000
GAP_BUCKETS = 10_000
# Rows of each entity: one at both ends of the range, and one somewhere in each stride between.
GAP_ROWS = 20

LATEST_ENTITIES = 10_000
LATEST_SEGMENTS = 1_000

ASOF_ROWS = 10_000_000
ASOF_ENTITIES = 1_000
# Appends that fill the table as a daily job does: each with all entities, one time after the other.
ASOF_PARTS = 14


def run(context: Context) -> None:
    gaps(context)
    latest_and_filled(context)
    asof(context, parts=1)
    asof(context, parts=ASOF_PARTS)


def instants(microseconds: np.ndarray) -> pa.Array:
    """Times so long after the start of the year."""
    return pa.array(START + microseconds, pa.timestamp("us"))


def gaps(context: Context) -> None:
    entities = context.scaled(GAP_ENTITIES, 1_000)
    ours = Coverline(context.folder / "gaps")
    ours.create("t", "ts", "1s", ["entity"])
    random = np.random.default_rng([SEED, 8])
    stride = GAP_BUCKETS // GAP_ROWS
    for number in range(GAP_ROWS):
        seconds = number * stride + random.integers(0, stride, entities)
        if number in (0, GAP_ROWS - 1):
            seconds[:] = 0 if number == 0 else GAP_BUCKETS - 1
        ours.append("t", pa.table({"ts": instants(seconds * SECOND), "entity": np.arange(entities)}))
    query = "SELECT count(*) AS runs, sum(missing_buckets) AS missing FROM gaps('t')"
    answer = ours.sql(query)
    if answer["missing"][0].as_py() != entities * (GAP_BUCKETS - GAP_ROWS):
        raise RuntimeError(f"W8 gaps: {answer.to_pylist()} over {entities} entities")
    if "DataSourceExec" in str(ours.sql(f"EXPLAIN {query}").to_pylist()):
        raise RuntimeError("W8 gaps: a file is opened")
    against_limit(context, ours, f"W8 gaps, {entities} entities x {GAP_BUCKETS} buckets, {answer['runs'][0]} gaps", query, 1_000.0)
    ours.close()


def against_limit(context: Context, ours: Coverline, name: str, query: str, limit: float) -> None:
    mine = interleaved({"coverline": lambda: ours.sql(query)}, context.repeat)["coverline"].scaled(1e3)
    context.report.add(Row(name, "ms", mine, {"limit": exactly(limit)}, "limit", ("<=", 1.0)))


def latest_and_filled(context: Context) -> None:
    """Every other hour has a row of every entity, each hour in an append of its own."""
    entities = context.scaled(LATEST_ENTITIES, 100)
    segments = context.scaled(LATEST_SEGMENTS, 10)
    ours = Coverline(context.folder / "latest")
    ours.create("t", "ts", "1h", ["entity"])
    random = np.random.default_rng([SEED, 9])
    names = np.arange(entities)
    for number in range(segments):
        columns = {f"v{column}": random.random(entities) for column in range(4)}
        ours.append("t", pa.table({"ts": instants(np.full(entities, 2 * number * HOUR)), "entity": names, **columns}))
    newest = ours.sql("SELECT max(ts) AS ts FROM t")["ts"][0].as_py().isoformat()
    latest = "SELECT DISTINCT ON (entity) * FROM t ORDER BY entity, ts DESC"
    newest_rows = f"SELECT * FROM t WHERE ts >= '{newest}'"
    rows = {"coverline": lambda: ours.sql(latest), "newest_rows": lambda: ours.sql(newest_rows)}
    require_agreement("W8 latest", {name: action() for name, action in rows.items()})
    name = f"W8 last row of {entities} entities in {segments} segments, against reading the rows"
    add(context, name, interleaved(rows, context.repeat), "newest_rows", ("<=", 3.0))

    # The plain query has half the rows, the filled one all hours.
    ends = [at.isoformat() for at in instants(np.array([0, 2 * segments * HOUR])).to_pylist()]
    plain = "SELECT count(*) AS n FROM (SELECT entity, time_bucket('1h', ts) AS b, avg(v0) AS v FROM t GROUP BY entity, b)"
    filled = plain.replace("time_bucket('1h', ts)", f"time_bucket_gapfill('1h', ts, '{ends[0]}', '{ends[1]}')")
    counts = [ours.sql(query)["n"][0].as_py() for query in (filled, plain)]
    if counts != [2 * entities * segments, entities * segments]:
        raise RuntimeError(f"W8 gap filling: {counts} rows")
    taken = interleaved({"coverline": lambda: ours.sql(filled), "plain": lambda: ours.sql(plain)}, context.repeat)
    name = f"W8 filling {entities * segments} rows between as many, against GROUP BY time_bucket"
    add(context, name, taken, "plain", ("<=", 2.0))
    ours.close()


def asof(context: Context, parts: int) -> None:
    rows = context.scaled(ASOF_ROWS, 10_000)
    entities = min(ASOF_ENTITIES, rows // 10)
    each = rows // entities
    ours = Coverline(context.folder / f"asof-{parts}")
    random = np.random.default_rng([SEED, 10])
    peers = {}
    for table in ("trades", "quotes"):
        # One time in every twenty seconds, so that no two quotes tie, and no two appends meet in a bucket.
        ours.create(table, "ts", "20s", ["entity"])
        # Each append in the order of entities and times, as both store it.
        times = 20 * SECOND * np.arange(each) + random.integers(0, 20 * SECOND, (entities, each))
        columns = {"entity": np.repeat(np.arange(entities), each), "ts": times.ravel(), table[:1]: random.random(rows)}
        part = np.tile(np.arange(each) * parts // each, entities)
        appends = [{name: column[part == at] for name, column in columns.items()} for at in range(parts)]
        peers[table] = [pa.table({**append, "ts": instants(append["ts"])}) for append in appends]
        for data in peers[table]:
            ours.append(table, data)
    native = duck.DuckNative(context.folder / f"asof-{parts}.duckdb", "trades")
    for table, appends in peers.items():
        native.name, native.created = table, False
        for data in appends:
            native.append(data)
    del peers, data, columns, appends, part
    select = "SELECT count(q.q) AS matched, sum(q.q) AS total FROM trades t"
    mine = f"{select} ASOF JOIN quotes q MATCH_CONDITION (t.ts >= q.ts) ON t.entity = q.entity"
    theirs = f"{select} ASOF LEFT JOIN quotes q ON t.entity = q.entity AND t.ts >= q.ts"
    actions = {"coverline": lambda: ours.sql(mine), "duckdb_native": lambda: native.sql(theirs)}
    require_agreement("W8 ASOF", {name: action() for name, action in actions.items()})
    name = f"W8 ASOF JOIN, {rows} rows each side in {parts} appends"
    add(context, name, interleaved(actions, context.repeat), "duckdb_native", ("<=", 1.5))
    following = "max(delta) AS d, count(*) AS n FROM (SELECT t - lag(t) OVER (PARTITION BY entity ORDER BY ts) AS delta FROM trades)"
    actions = {"coverline": lambda: ours.sql(f"SELECT {following}"), "duckdb_native": lambda: native.sql(f"SELECT {following}")}
    require_agreement("W8 lag", {name: action() for name, action in actions.items()})
    add(context, f"W8 lag of each entity, {rows} rows in {parts} appends", interleaved(actions, context.repeat), "duckdb_native", None)
    ours.close()


def add(context: Context, name: str, taken: dict[str, Spread], against: str, target: tuple[str, float] | None) -> None:
    taken = {who: value.scaled(1e3) for who, value in taken.items()}
    context.report.add(Row(name, "ms", taken.pop("coverline"), taken, against, target))
