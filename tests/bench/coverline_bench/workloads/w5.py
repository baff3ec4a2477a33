"""W5 entities: one-row appends to tables that already hold many entities, and the memory of the index."""

from __future__ import annotations

from coverline_bench import generate
from coverline_bench.coverline import Coverline
from coverline_bench.measure import Row, chunked, exactly, seconds, spread
from coverline_bench.peers import ttf
from coverline_bench.workloads import Context

SMALL = 1_000
LARGE = 100_000
APPENDS = 100
INDEX_ENTITIES = 1_000_000
INDEX_RUNS = 10
RESTARTS = 3


def run(context: Context) -> None:
    one_row(context)
    index_memory(context)


def one_row(context: Context) -> None:
    ours = Coverline(context.folder / "coverline")
    counts = {"few": context.scaled(SMALL, 100), "many": context.scaled(LARGE, 10_000)}
    peers: dict[str, ttf.Ttf] = {}
    for name, count in counts.items():
        ours.create(name, "ts", "1s", ["entity"])
        ours.append(name, generate.entities(count, 0))
        peers[name] = ttf.Ttf(context.folder / f"ttf-{name}", "ts", ["entity"])
        peers[name].append(generate.entities(count, 0))
    taken: dict[str, list[float]] = {}
    for number in range(APPENDS):
        data = generate.small(number + 1, 1)
        for name in counts:
            taken.setdefault(name, []).append(seconds(lambda: ours.append(name, data)))
            if number < 10:
                taken.setdefault(f"ttf_{name}", []).append(seconds(lambda: peers[name].append(data)))
    p50 = {name: chunked(values).scaled(1e3) for name, values in taken.items()}
    mine = p50.pop("many")
    context.report.add(
        Row(f"W5 one-row append at {counts['many']} entities against {counts['few']}", "ms", mine, p50, "few", ("<=", 1.5))
    )
    ours.close()


def index_memory(context: Context) -> None:
    """Ten separate runs for every entity: every other second."""
    count = context.scaled(INDEX_ENTITIES, 10_000)
    ours = Coverline(context.folder / "index")
    ours.create("wide", "ts", "1s", ["entity"])
    ours.append("wide", generate.entities(1, 0))
    for run_number in range(INDEX_RUNS):
        ours.append("wide", generate.entities(count, 2 * run_number + 2))
    empty = Coverline(context.folder / "empty")
    memory = []
    for _ in range(RESTARTS):
        # After a restart the process holds the index and little else.
        ours.restart()
        ours.sql("SELECT count(*) FROM wide")
        empty.restart()
        empty.sql("SELECT 1")
        memory.append((ours.rss() - empty.rss()) / 1e6)
    limit = exactly(200.0 * count / INDEX_ENTITIES)
    context.report.add(
        Row(f"W5 index memory, {count} entities of {INDEX_RUNS} runs", "MB", spread(memory), {"limit": limit}, "limit", ("<=", 1.0))
    )
    empty.close()
    ours.close()
