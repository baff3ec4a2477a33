"""Loads one file per day into a table of a local folder, twice, and checks the result by SQL.

Written in the style of an in-process table library: apart from the import line, nothing here knows of a server.

    daily_prices.py TABLE_ROOT FILE...
"""

import os
import sys

import coverline as ttf

table_root, *files = sys.argv[1:]

try:
    table = ttf.TimeSeriesTable.open(table_root)
except Exception:
    table = ttf.TimeSeriesTable.create(
        table_root=table_root,
        time_column="ts",
        bucket="1h",
        entity_columns=["symbol"],
        timezone=None,
    )

for path in files:
    try:
        version = table.append_parquet(path)
        print(f"{os.path.basename(path)}: version {version}")
    except ttf.CoverageOverlapError as e:
        print(f"{os.path.basename(path)}: skipped, {e.overlap_count} buckets are there")

session = ttf.Session()
session.register_tstable("prices", table_root)
result = session.sql(
    "SELECT symbol, min(ts) AS first, max(ts) AS last, count(*) AS n FROM prices GROUP BY symbol ORDER BY symbol"
)
for row in result.to_pylist():
    print(f"{row['symbol']} {row['first']:%Y-%m-%dT%H} {row['last']:%Y-%m-%dT%H} {row['n']}")
