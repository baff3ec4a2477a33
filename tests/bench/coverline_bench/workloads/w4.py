"""W4 small appends: durable one-row appends, many clients, and what many commits do to everything else."""

from __future__ import annotations

import os
from pathlib import Path

from coverline_bench import generate
from coverline_bench.agree import require_agreement
from coverline_bench.coverline import Coverline
from coverline_bench.measure import Row, Spread, chunked, disk_bytes, exactly, p99, seconds, spread
from coverline_bench.peers import arctic, duck, ttf
from coverline_bench.workloads import Context, w4_clients

ONE_ROW_APPENDS = 300
MANY_COMMITS = (1_000, 10_000)
OPENINGS = 3
FIRST_QUERY = "SELECT count(*), max(ts) FROM small"
# Commits compared: at the beginning, when all code has run once, and at the end.
EARLY, LATE = slice(5, 105), slice(-100, None)


def run(context: Context) -> None:
    latency(context)
    w4_clients.run(context)
    many_commits(context)


def durable_file(folder: Path, number: int) -> None:
    """What one durable commit costs at least: create, write 4 KiB, fsync, link, fsync of the directory."""
    temporary = folder / f"tmp-{number}"
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(descriptor, bytes(4096))
    os.fsync(descriptor)
    os.close(descriptor)
    os.link(temporary, folder / f"{number:020}")
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    os.unlink(temporary)


def latency(context: Context) -> None:
    folder = context.folder / "latency"
    (folder / "files").mkdir(parents=True)
    ours = Coverline(folder / "coverline")
    ours.create("small", "ts", "1s", ["entity"])
    theirs = ttf.Ttf(folder / "ttf", "ts", ["entity"])
    native = duck.DuckNative(folder / "native.duckdb", "small")
    frames = arctic.Arctic(folder / "arctic", "ts")
    taken: dict[str, list[float]] = {}
    for number in range(context.scaled(ONE_ROW_APPENDS, 30)):
        data = generate.small(number, 1)
        for name, action in {
            "coverline": lambda: ours.append("small", data),
            "file": lambda: durable_file(folder / "files", number),
            "ttf": lambda: theirs.append(data),
            "duckdb": lambda: native.append(data),
            "arcticdb": lambda: frames.append("small", data),
        }.items():
            taken.setdefault(name, []).append(seconds(action))
    ours.close()
    p50 = {name: chunked(values).scaled(1e3) for name, values in taken.items()}
    context.report.add(Row("W4 one-row append, p50", "ms", p50.pop("coverline"), p50, "file", ("<=", 4.0)))
    slow = {name: chunked(values, p99).scaled(1e3) for name, values in taken.items()}
    context.report.add(Row("W4 one-row append, p99", "ms", slow.pop("coverline"), slow, "file"))


def many_commits(context: Context) -> None:
    folder = context.folder / "many"
    few, many = (context.scaled(commits, least) for commits, least in zip(MANY_COMMITS, (100, 210)))
    ours = Coverline(folder / "coverline")
    ours.create("small", "ts", "1s", ["entity"])
    theirs = ttf.Ttf(folder / "ttf", "ts", ["entity"])
    native = duck.DuckNative(folder / "native.duckdb", "small")
    taken = []
    stages: dict[int, dict[str, Spread]] = {}
    for number in range(many):
        data = generate.small(number, 1)
        taken.append(seconds(lambda: ours.append("small", data)))
        theirs.append(data)
        native.append(data)
        if number + 1 in (few, many):
            answers = {"coverline": ours.sql(FIRST_QUERY), "ttf": theirs.session("small").sql(FIRST_QUERY)}
            require_agreement(f"W4 at {number + 1} commits", answers | {"duckdb": native.sql(FIRST_QUERY)})
            stages[number + 1] = opened(ours) | opened_ttf(theirs)
    for commits in (few, many):
        stage = stages[commits]
        for figure, target in {"open": ("<=", 0.2), "plan": None, "first query": None}.items():
            peers = {"ttf": stage[f"ttf {figure}"]}
            context.report.add(
                Row(f"W4 {figure} at {commits} commits", "ms", stage[figure], peers, "ttf", target if commits == many else None)
            )
    growth = {"few": stages[few]["open"]}
    context.report.add(Row(f"W4 open at {many} commits against {few}", "ms", stages[many]["open"], growth, "few", ("<=", 3.0)))
    early, late = chunked(taken[EARLY]).scaled(1e3), chunked(taken[LATE]).scaled(1e3)
    context.report.add(Row(f"W4 append number {many} against number 10", "ms", late, {"early": early}, "early", ("<=", 1.3)))
    ours.close()
    native.connection.close()
    data_bytes = generate.small(0, many).nbytes
    disk = {
        name: exactly(disk_bytes(path) / data_bytes)
        for name, path in {
            "coverline": folder / "coverline", "ttf": folder / "ttf", "duckdb": folder / "native.duckdb"
        }.items()
    }
    context.report.add(Row(f"W4 disk after {many} commits", "bytes per data byte", disk.pop("coverline"), disk, "ttf"))


def opened(ours: Coverline) -> dict[str, Spread]:
    """Milliseconds of a new server: until the first statement about the table is planned, another plan, and the first query."""
    taken: dict[str, list[float]] = {"open": [], "plan": [], "first query": []}
    for _ in range(OPENINGS):
        ours.restart()
        # A new process pays for its first statement whatever that is about.
        ours.sql("SELECT 1")
        taken["open"].append(seconds(lambda: ours.sql(f"EXPLAIN {FIRST_QUERY}")) * 1e3)
        taken["plan"].append(seconds(lambda: ours.sql(f"EXPLAIN {FIRST_QUERY}")) * 1e3)
        taken["first query"].append(seconds(lambda: ours.sql(FIRST_QUERY)) * 1e3)
    return {name: spread(values) for name, values in taken.items()}


def opened_ttf(theirs: ttf.Ttf) -> dict[str, Spread]:
    taken: dict[str, list[float]] = {"ttf open": [], "ttf plan": [], "ttf first query": []}
    for _ in range(OPENINGS):
        taken["ttf open"].append(seconds(lambda: ttf.open_table(theirs.folder)) * 1e3)
        session = theirs.session("small")
        taken["ttf plan"].append(seconds(lambda: session.sql(f"EXPLAIN {FIRST_QUERY}")) * 1e3)
        taken["ttf first query"].append(seconds(lambda: session.sql(FIRST_QUERY)) * 1e3)
    return {name: spread(values) for name, values in taken.items()}
