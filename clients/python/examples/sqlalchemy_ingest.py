"""Appends CSV files of hourly prices to a table by SQLAlchemy, each as one version.

Needs the dialect of our package: pip install coverline[sqlalchemy]. Run it twice: the second time every file is refused as already
loaded, and the table stays as it is.
"""

from __future__ import annotations

import argparse
import csv
import datetime
from pathlib import Path
from typing import Any

from overlap import overlap_of
from sqlalchemy import Column, DateTime, Double, MetaData, Table, Text, create_engine, exc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("files", metavar="FILE.csv", nargs="+", type=Path)
    arguments = parser.parse_args()

    engine = create_engine(f"coverline://{arguments.address}")
    prices = Table(
        arguments.table,
        MetaData(),
        Column("ts", DateTime(timezone=True), nullable=False),
        Column("symbol", Text, nullable=False),
        Column("close", Double),
        coverline_index_column="ts",
        coverline_bucket="1h",
        coverline_entity_columns="symbol",
    )
    prices.create(engine, checkfirst=True)
    for file in arguments.files:
        rows = read(file)
        try:
            # All rows of one INSERT are one append.
            with engine.begin() as connection:
                connection.execute(prices.insert(), rows)
        except exc.DBAPIError as error:
            # What the driver raised is the cause of this one, and its attribute `orig`.
            overlap = overlap_of(error)
            if overlap is None:
                raise
            print(f"{file.name}: {overlap}")
        else:
            print(f"{file.name}: {len(rows)} rows")
    engine.dispose()


def read(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="") as lines:
        return [
            {
                # Python 3.10 does not know the Z.
                "ts": datetime.datetime.fromisoformat(line["ts"].replace("Z", "+00:00")),
                "symbol": line["symbol"],
                "close": float(line["close"]) if line["close"] else None,
            }
            for line in csv.DictReader(lines)
        ]


if __name__ == "__main__":
    main()
