"""One table in every store at once: each gets the same appends in turn, and answers the same SQL in its own dialect."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from coverline_bench.agree import require_agreement
from coverline_bench.coverline import Coverline
from coverline_bench.measure import Row, best, interleaved, seconds, spread
from coverline_bench.peers import chdb_, delta, duck, ttf
from coverline_bench.workloads import Context

# The value of a column in the first and in the last row by time: written FIRST(column) and LAST(column) in a query.
DATAFUSION = {"FIRST": r"first_value(\1 ORDER BY ts)", "LAST": r"last_value(\1 ORDER BY ts)"}
DUCKDB = {"FIRST": r"arg_min(\1, ts)", "LAST": r"arg_max(\1, ts)"}
CLICKHOUSE = {"FIRST": r"argMin(\1, ts)", "LAST": r"argMax(\1, ts)"}

# The bar of a query: the better of these two.
BARS = ("ttf", "duckdb_parquet")


class Stores:
    """`table` has its time in `ts` and one entity column."""

    def __init__(self, folder: Path, table: str, bucket: str, entity: str) -> None:
        self.ours = Coverline(folder / "coverline")
        self.ours.create(table, "ts", bucket, [entity])
        self.ttf = ttf.Ttf(folder / "ttf", "ts", [entity], bucket)
        self.parquet = duck.DuckParquet(folder / "parquet")
        self.native = duck.DuckNative(folder / "native.duckdb", table)
        (folder / "chdb").mkdir()
        self.chdb = chdb_.Chdb(folder / "chdb", table, f"({entity}, ts)")
        self.delta = delta.Delta(folder / "delta")
        self.table = table
        self.appends: dict[str, Callable[[pa.Table], None]] = {
            "coverline": lambda data: self.ours.append(table, data),
            "ttf": self.ttf.append,
            "parquet_files": self.parquet.append,
            "duckdb_native": self.native.append,
            "chdb": self.chdb.append,
            "delta": self.delta.append,
        }
        # Seconds of each append so far.
        self.taken: dict[str, list[float]] = {}

    def append(self, data: pa.Table) -> None:
        for name, append in self.appends.items():
            self.taken.setdefault(name, []).append(seconds(lambda: append(data)))

    def report_appends(self, context: Context, title: str, rows: int) -> None:
        """Every append had `rows` rows."""
        rates = {name: spread(rows / value / 1e6 for value in values) for name, values in self.taken.items()}
        context.report.add(Row(title, "Mrow/s", rates.pop("coverline"), rates, "ttf"))

    def finish(self) -> None:
        """All appends are done: makes the table known to the engines that query what others wrote."""
        self.parquet.view(self.table)
        session = self.ttf.session(self.table)
        self.asked: dict[str, tuple[dict[str, str], Callable[[str], pa.Table]]] = {
            "coverline": (DATAFUSION, self.ours.sql),
            "ttf": (DATAFUSION, session.sql),
            "duckdb_parquet": (DUCKDB, self.parquet.sql),
            "duckdb_native": (DUCKDB, self.native.sql),
            "chdb": (CLICKHOUSE, self.chdb.sql),
            "delta": (DATAFUSION, self.delta.session(self.table)),
        }

    def questions(self, query: str) -> dict[str, Callable[[], pa.Table]]:
        """`query` in the dialect of each engine, ready to be asked."""

        def ask(dialect: dict[str, str], sql: Callable[[str], pa.Table]) -> Callable[[], pa.Table]:
            text = query
            for word, replacement in dialect.items():
                text = re.sub(rf"\b{word}\((\w+)\)", replacement, text)
            return lambda: sql(text)

        return {name: ask(*how) for name, how in self.asked.items()}

    def close(self) -> None:
        self.ours.close()
        self.chdb.close()


def race(context: Context, title: str, questions: list[dict[str, Callable[[], pa.Table]]]) -> None:
    """Asks each question of all engines, first to compare what they answer, then against the clock: `repeat` turns, one question
    after the other."""
    for number, engines in enumerate(questions):
        require_agreement(f"{title}, choice {number}", {name: ask() for name, ask in engines.items()})

    def next_question(name: str) -> Callable[[], object]:
        asked = iter([questions[turn % len(questions)][name] for turn in range(context.repeat)])
        return lambda: next(asked)()

    taken = interleaved({name: next_question(name) for name in questions[0]}, context.repeat, warmup=0)
    milliseconds = {name: value.scaled(1e3) for name, value in taken.items()}
    mine = milliseconds.pop("coverline")
    context.report.add(Row(title, "ms", mine, milliseconds | {"best": best(milliseconds, *BARS)}, "best"))
