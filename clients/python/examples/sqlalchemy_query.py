"""Asks by SQLAlchemy what a table holds since some moment, and what is missing in it.

Needs the dialect of our package: pip install coverline[sqlalchemy].
"""

from __future__ import annotations

import argparse
import datetime

from sqlalchemy import MetaData, Table, create_engine, func, literal_column, select


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("since", help="for example 2025-03-01T12:00:00Z", type=moment)
    arguments = parser.parse_args()

    engine = create_engine(f"coverline://{arguments.address}")
    prices = Table(arguments.table, MetaData(), autoload_with=engine)
    held = (
        select(prices.c.symbol, func.min(prices.c.ts), func.max(prices.c.ts), func.count())
        .where(prices.c.ts >= arguments.since)
        .group_by(prices.c.symbol)
        .order_by(prices.c.symbol)
    )
    # The argument of a table function is part of the plan, so it is text of the statement and no parameter.
    quoted = arguments.table.replace("'", "''")
    gaps = func.gaps(literal_column(f"'{quoted}'")).table_valued("symbol", "gap_start", "gap_end", "missing_buckets")
    missing = select(gaps).order_by(gaps.c.symbol, gaps.c.gap_start)
    with engine.connect() as connection:
        for symbol, first, last, rows in connection.execute(held):
            print(f"{symbol}: {text(first)} to {text(last)}, {rows} rows")
        for symbol, start, end, buckets in connection.execute(missing):
            print(f"{symbol}: nothing from {text(start)} to {text(end)}, {buckets} buckets")
    engine.dispose()


def moment(written: str) -> datetime.datetime:
    # Python 3.10 does not know the Z.
    return datetime.datetime.fromisoformat(written.replace("Z", "+00:00"))


def text(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    main()
