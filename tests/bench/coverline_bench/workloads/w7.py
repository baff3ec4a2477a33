"""W7 mixed: 8 writers, each with a thousand rows five times a second, beside 8 readers that count the rows of each writer over
and over. The rate of the writers is bounded, so that the tables of both servers grow alike and the readers count the same.

Each answer has to be a committed prefix: whole appends only, all that was acknowledged before the question, none that began
after the answer, and any two answers of whichever readers such that one holds all of the other."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from coverline_bench.clients import Job, Outcome
from coverline_bench.coverline import Coverline
from coverline_bench.measure import Row, cpu_seconds, peak_rss, percentile, spread
from coverline_bench.peers import quack
from coverline_bench.workloads import Context

WRITERS = 8
READERS = 8
ROWS = 1_000
INTERVAL_SECONDS = 0.2
# Appends of each writer: 20 seconds.
APPENDS = 100
REPEATS = 3


@dataclass(frozen=True)
class Taken:
    outcome: Outcome
    server_cpu: float
    peak_bytes: int


def run(context: Context) -> None:
    job = Job("mixed", WRITERS, ROWS, context.scaled(APPENDS, 5), READERS, INTERVAL_SECONDS)
    taken: dict[str, list[Taken]] = {"coverline": [], "quack": []}
    for turn in range(REPEATS):
        for name, mix in {"coverline": ours, "quack": theirs}.items():
            one = mix(context.folder / f"{name}-{turn}", job)
            if violation := not_a_prefix(one.outcome, job.rows):
                if name == "coverline":
                    raise RuntimeError(f"W7: {violation}")
                context.report.note(f"W7: {name}: {violation}")
            taken[name].append(one)
    figures: dict[str, tuple[str, Callable[[Taken], float]]] = {
        "append p50": ("ms", lambda one: percentile([append.seconds * 1e3 for append in one.outcome.appends], 50)),
        "append p99": ("ms", lambda one: percentile([append.seconds * 1e3 for append in one.outcome.appends], 99)),
        "read p50": ("ms", lambda one: percentile([read.seconds * 1e3 for read in one.outcome.reads], 50)),
        "read p99": ("ms", lambda one: percentile([read.seconds * 1e3 for read in one.outcome.reads], 99)),
        "reads": ("1/s", lambda one: len(one.outcome.reads) / one.outcome.elapsed),
        "peak memory of the server": ("MB", lambda one: one.peak_bytes / 1e6),
        "processor time of the server": ("s", lambda one: one.server_cpu),
        "processor time of the clients": ("s", lambda one: one.outcome.client_cpu),
    }
    asked = WRITERS / INTERVAL_SECONDS
    for figure, (unit, value) in figures.items():
        each = {name: spread(value(one) for one in all_) for name, all_ in taken.items()}
        context.report.add(Row(f"W7 {WRITERS} writers, {READERS} readers: {figure}", unit, each.pop("coverline"), each, "quack"))
    for name, all_ in taken.items():
        rate = spread(one.outcome.appends_per_second for one in all_)
        context.report.note(f"W7: {name}: {rate} appends/s of {asked:g}/s that were due")


def ours(folder: Path, job: Job) -> Taken:
    with ExitStack() as stack:
        server = stack.enter_context(closing(Coverline(folder)))
        # With its columns, as the readers begin before the first append.
        server.execute(
            f"CREATE TABLE {job.table} (ts TIMESTAMP(6) NOT NULL, entity BIGINT NOT NULL, value DOUBLE) "
            "WITH (index_column = 'ts', bucket = '1s', entity_columns = 'entity')"
        )
        clients = stack.enter_context(closing(server.clients(WRITERS + READERS)))
        return measured(server.process.pid, lambda: clients.run(job))


def theirs(folder: Path, job: Job) -> Taken:
    with ExitStack() as stack:
        server = stack.enter_context(closing(quack.Quack(folder)))
        server.create(job.table)
        clients = stack.enter_context(closing(server.clients(WRITERS + READERS)))
        return measured(server.process.pid, lambda: clients.run(job))


def measured(server: int, run_job: Callable[[], Outcome]) -> Taken:
    before = cpu_seconds(server)
    outcome = run_job()
    return Taken(outcome, cpu_seconds(server) - before, peak_rss(server))


def not_a_prefix(outcome: Outcome, rows: int) -> str | None:
    """Why some answer is no committed prefix of the appends, each of which had `rows` rows."""
    begun: dict[int, list[float]] = defaultdict(list)
    ended: dict[int, list[float]] = defaultdict(list)
    for append in sorted(outcome.appends, key=lambda append: append.begun):
        begun[append.entity].append(append.begun)
        ended[append.entity].append(append.ended)
    if not outcome.reads:
        return "no read was answered"
    for read in outcome.reads:
        for entity in begun:
            found = read.counts.get(entity, 0)
            least = bisect_left(ended[entity], read.begun)
            most = bisect_left(begun[entity], read.ended)
            if found % rows:
                return f"a read found {found} rows of entity {entity}: a part of an append"
            if not least <= found // rows <= most:
                return (
                    f"a read found {found // rows} appends of entity {entity}, when {least} had been acknowledged before it "
                    f"began and {most} had begun when it ended"
                )
    # Prefixes of one history can be put in an order in which nothing ever gets less.
    ordered = sorted(outcome.reads, key=lambda read: sum(read.counts.values()))
    for smaller, larger in zip(ordered, ordered[1:]):
        for entity in begun:
            if smaller.counts.get(entity, 0) > larger.counts.get(entity, 0):
                return f"two reads saw the appends in different orders: {smaller.counts} and {larger.counts}"
    return None
