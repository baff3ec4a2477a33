"""ASOF JOIN gives the rows of DuckDB's: random statements over random tables.

`COVERLINE_ASOF_CASES` and `COVERLINE_ASOF_SEED` set how many and which; `tests/soak SECONDS differential` asks for 1,000. One is repeated
by its number, as in the differential test.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from differential.asof import AsofQueries
from differential.engines import Engines, engines  # noqa: F401
from differential.queries import Select
from differential.tables import Table

FIRST_SEED = 0
GATE_CASES = 300
# Of 100 statements, at most so many may be ones that DuckDB refuses, or that show no row at all.
REFUSED_PERCENT_MAX = 2
EMPTY_PERCENT_MAX = 30
# And of so many at least, some row has one of the right side.
MATCHED_PERCENT_MIN = 45


def test_asof_joins_give_the_rows_that_duckdb_gives(engines: Engines, name: str, tmp_path: Path) -> None:
    count = int(os.environ.get("COVERLINE_ASOF_CASES", GATE_CASES))
    first = int(os.environ.get("COVERLINE_ASOF_SEED", FIRST_SEED))
    # Otherwise it joins sides as small as these in another way.
    engines.duck.execute("SET asof_loop_join_threshold = 0")
    matched = 0

    def make(seed: int, tables: list[Table]) -> Select:
        nonlocal matched
        queries = AsofQueries(random.Random(f"asof {seed}"), tables)
        query = queries.make()
        [(rows,)] = engines.duck.sql(queries.matched).fetchall()
        matched += rows > 0
        return query

    engines.compare(first, count, make, name, tmp_path)
    print(f"{matched} of {count} statements join rows")
    if count >= GATE_CASES:
        for number, most, what in (
            (engines.refused, REFUSED_PERCENT_MAX, "are refused by DuckDB"),
            (engines.empty, EMPTY_PERCENT_MAX, "show no row"),
            (count - matched, 100 - MATCHED_PERCENT_MIN, "join no row"),
        ):
            assert number * 100 <= most * count, f"{number} of {count} statements {what}"
