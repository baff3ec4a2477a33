"""W4 with many clients: closed loops of appends from a common start, a fixed count for each client, until the last
acknowledgement. Says who used the processor, since server and clients share the machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

from coverline_bench.clients import Clients, Job, Outcome
from coverline_bench.coverline import Coverline
from coverline_bench.measure import Row, Spread, cpu_seconds, percentile, spread
from coverline_bench.peers import postgres, quack
from coverline_bench.workloads import Context

CLIENTS = (1, 4, 16, 64)
REPEATS = 3
# Appends of all clients together in one repeat, by rows of an append: one to three seconds for each engine.
APPENDS = {
    1: {"coverline": 6_400, "lean": 6_400, "quack": 960, "postgres": 12_800},
    1_000: {"coverline": 960, "quack": 192},
}
# A single client gets no group commits to share: fewer appends take as long.
ALONE = 4
# What the targets speak of.
TARGET_CLIENTS = 16


@dataclass(frozen=True)
class Engine:
    """A server and its clients."""

    create: Callable[[str], None]
    append: Callable[[Job], Outcome]
    server_cpu: Callable[[], float]


@dataclass(frozen=True)
class Taken:
    outcome: Outcome
    server_cpu: float


# Who used the processor.
SIDES: dict[str, Callable[[Taken], float]] = {
    "server": lambda one: one.server_cpu,
    "clients": lambda one: one.outcome.client_cpu,
}


def run(context: Context) -> None:
    with ExitStack() as stack:
        engines = start(context, stack)
        for rows, appends in APPENDS.items():
            for clients in CLIENTS:
                cell(context, {name: engines[name] for name in appends if name in engines}, rows, clients)


def start(context: Context, stack: ExitStack) -> dict[str, Engine]:
    ours = stack.enter_context(closing(Coverline(context.folder / "clients-coverline")))
    theirs = stack.enter_context(closing(quack.Quack(context.folder / "clients-quack")))

    def many(made: Clients) -> Callable[[Job], Outcome]:
        return stack.enter_context(closing(made)).run

    def ours_with(kind: str) -> Engine:
        return Engine(
            lambda table: ours.create(table, "ts", "1s", ["entity"]),
            checked(ours, many(ours.clients(max(CLIENTS), kind))),
            lambda: cpu_seconds(ours.process.pid),
        )

    engines = {
        "coverline": ours_with("coverline"),
        "lean": ours_with("wire"),
        "quack": Engine(theirs.create, many(theirs.clients(max(CLIENTS))), lambda: cpu_seconds(theirs.process.pid)),
    }
    if programs := postgres.find():
        cluster = stack.enter_context(closing(postgres.Postgres(programs)))
        engines["postgres"] = Engine(
            cluster.create, lambda job: cluster.one_row_appends(job.table, job.writers, job.appends), cluster.cpu
        )
    else:
        context.report.note("SKIPPED: PostgreSQL is not installed (no initdb), so W4 has no ratio to it")
    return engines


def checked(ours: Coverline, append: Callable[[Job], Outcome]) -> Callable[[Job], Outcome]:
    """Every acknowledged row has to be there afterwards."""

    def appended(job: Job) -> Outcome:
        outcome = append(job)
        found = ours.sql(f"SELECT count(*) FROM {job.table}").column(0)[0].as_py()
        if found != len(outcome.appends) * job.rows:
            raise RuntimeError(f"{len(outcome.appends)} appends of {job.rows} rows were acknowledged, {found} rows are there")
        return outcome

    return appended


def cell(context: Context, engines: dict[str, Engine], rows: int, clients: int) -> None:
    """One number of rows and one number of clients, all engines in turn, into a new table each time."""
    taken: dict[str, list[Taken]] = {name: [] for name in engines}
    for turn in range(REPEATS):
        for name, engine in engines.items():
            total = APPENDS[rows][name] // (ALONE if clients == 1 else 1)
            job = Job(f"{name}_{rows}_{clients}_{turn}", clients, rows, max(2, context.scaled(total) // clients))
            engine.create(job.table)
            before = engine.server_cpu()
            outcome = engine.append(job)
            taken[name].append(Taken(outcome, engine.server_cpu() - before))
    unit = f"{'one-row' if rows == 1 else f'{rows}-row'} appends, {clients} client{'' if clients == 1 else 's'}"
    rate = {name: spread(one.outcome.appends_per_second for one in all_) for name, all_ in taken.items()}
    at_target = rows == 1 and clients == TARGET_CLIENTS
    stock = rate.pop("coverline")
    lean = rate.get("lean")
    peers = {name: value for name, value in rate.items() if name != "postgres"}
    context.report.add(Row(f"W4 {unit}", "1/s", stock, peers, "quack", (">=", 3.0) if at_target else None))
    if lean and "postgres" in rate:
        context.report.add(
            Row(f"W4 {unit}, lean clients", "1/s", lean, {"postgres": rate["postgres"]}, "postgres",
                (">=", 0.6) if at_target else None)
        )
    for name, percent in {"p50": 50.0, "p99": 99.0}.items():
        figures = {engine: latencies(all_, percent) for engine, all_ in taken.items()}
        context.report.add(Row(f"W4 {unit}, {name}", "ms", figures.pop("coverline"), figures, "quack"))
    if clients == TARGET_CLIENTS:
        for side, cpu in SIDES.items():
            each = {
                engine: spread(cpu(one) / len(one.outcome.appends) * 1e6 for one in all_) for engine, all_ in taken.items()
            }
            context.report.add(Row(f"W4 {unit}, processor time of the {side}", "us per append", each.pop("coverline"), each))
    busy = ", ".join(
        f"{engine} " + " + ".join(f"{cores(all_, cpu):.2f}" for cpu in SIDES.values())
        for engine, all_ in taken.items()
    )
    context.report.note(f"W4 {unit}: cores busy, server + clients: {busy}")


def latencies(taken: list[Taken], percent: float) -> Spread:
    return spread(percentile([append.seconds for append in one.outcome.appends], percent) * 1e3 for one in taken)


def cores(taken: list[Taken], cpu: Callable[[Taken], float]) -> float:
    return sum(cpu(one) for one in taken) / sum(one.outcome.elapsed for one in taken)
