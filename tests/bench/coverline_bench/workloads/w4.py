"""W4 small appends: durable one-row appends, many clients, and what many commits do to everything else."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pyarrow.flight as flight

from coverline_bench import generate
from coverline_bench.coverline import Coverline, append
from coverline_bench.measure import Row, interleaved, median, seconds
from coverline_bench.peers import duck, quack, ttf
from coverline_bench.workloads import Context

ONE_ROW_APPENDS = 300
CLIENTS = 16
CLIENT_SECONDS = 8.0
MANY_COMMITS = 10_000


def run(context: Context) -> None:
    latency(context)
    throughput(context)
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
    taken: dict[str, list[float]] = {}
    for number in range(context.scaled(ONE_ROW_APPENDS, 50)):
        data = generate.small(number, 1)
        for name, action in {
            "coverline": lambda: ours.append("small", data),
            "file": lambda: durable_file(folder / "files", number),
            "ttf": lambda: theirs.append(data),
            "duckdb": lambda: native.append(data),
        }.items():
            taken.setdefault(name, []).append(seconds(action))
    p50 = {name: median(values) * 1e3 for name, values in taken.items()}
    ours.close()
    context.report.add(Row("W4 one-row append, p50", "ms", p50.pop("coverline"), p50, "file", ("<=", 4.0)))


def throughput(context: Context) -> None:
    folder = context.folder / "throughput"
    ours = Coverline(folder / "coverline")
    ours.create("small", "ts", "1s", ["entity"])
    span = CLIENT_SECONDS * min(1.0, context.scale)
    mine = concurrent_appends(ours.url, CLIENTS, span)
    ours.close()
    theirs = quack.one_row_appends(folder / "quack", CLIENTS, span)["appends_per_second"]
    context.report.add(
        Row(f"W4 one-row appends, {CLIENTS} clients", "1/s", mine, {"quack": theirs}, "quack", (">=", 3.0))
    )


def concurrent_appends(url: str, clients: int, span: float) -> float:
    counts = [0] * clients
    end = [0.0]
    barrier = threading.Barrier(clients, action=lambda: end.__setitem__(0, time.perf_counter() + span))

    def work(index: int) -> None:
        with flight.connect(url) as client:
            barrier.wait()
            while time.perf_counter() < end[0]:
                append(client, "small", generate.small(counts[index], 1, index))
                counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / span


def many_commits(context: Context) -> None:
    folder = context.folder / "many"
    commits = context.scaled(MANY_COMMITS, 1_000)
    tenth = commits // 10
    ours = Coverline(folder / "coverline")
    ours.create("small", "ts", "1s", ["entity"])
    theirs = ttf.Ttf(folder / "ttf", "ts", ["entity"])
    taken = []
    opened: dict[str, float] = {}
    for number in range(commits):
        data = generate.small(number, 1)
        taken.append(seconds(lambda: ours.append("small", data)))
        theirs.append(data)
        if number + 1 in (tenth, commits):
            ours.restart()
            name = "small" if number + 1 == tenth else "large"
            opened[name] = seconds(lambda: ours.sql("SELECT count(*) FROM small"))
            ours.append("small", generate.small(number, 1, entity=1))
    peer = interleaved({"ttf": lambda: ttf.open_and_count(folder / "ttf")}, 5)["ttf"]
    context.report.add(
        Row(f"W4 open at {commits} commits (first query after a restart)", "ms", opened["large"] * 1e3,
            {"ttf": peer * 1e3, f"coverline_at_{tenth}": opened["small"] * 1e3}, "ttf", ("<=", 0.2))
    )
    context.report.add(
        Row(f"W4 open at {commits} commits against {tenth}", "ms", opened["large"] * 1e3,
            {"at_a_tenth": opened["small"] * 1e3}, "at_a_tenth", ("<=", 3.0))
    )
    early, late = median(taken[5:105]) * 1e3, median(taken[-100:]) * 1e3
    context.report.add(
        Row(f"W4 append number {commits} against number 10", "ms", late, {"early": early}, "early", ("<=", 1.3))
    )
    ours.close()
