"""Appends CSV files of hourly prices to a table by plain pyarrow.flight, each as one version.

Run it twice: the second time every file is refused as already loaded, and the table stays as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight
from overlap import fields, overlap_of
from pyarrow import csv

COLUMNS = {"ts": pa.timestamp("us", "UTC"), "symbol": pa.string(), "close": pa.float64()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("files", metavar="FILE.csv", nargs="+", type=Path)
    arguments = parser.parse_args()

    with flight.FlightClient(f"grpc://{arguments.address}") as client:
        name = arguments.table.replace('"', '""')
        create = (
            f'CREATE TABLE IF NOT EXISTS "{name}" '
            "(ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) "
            "WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')"
        )
        # The text of a statement is a command. One that changes something runs when its info is asked for.
        client.get_flight_info(flight.FlightDescriptor.for_command(create.encode()))
        for file in arguments.files:
            try:
                version, rows = append(client, arguments.table, file)
            except flight.FlightError as error:
                overlap = overlap_of(error)
                if overlap is None:
                    raise
                print(f"{file.name}: {overlap}")
            else:
                print(f"{file.name}: version {version}, {rows} rows")


def append(client: flight.FlightClient, table: str, file: Path) -> tuple[int, int]:
    """Sends a file as one append, read in pieces: all of it becomes one version, or nothing does. Version and rows."""
    batches = csv.open_csv(file, convert_options=csv.ConvertOptions(column_types=COLUMNS))
    writer, answers = client.do_put(flight.FlightDescriptor.for_path(table), batches.schema)
    # A refusal ends the stream: writing may then fail without a reason, and leaving the block raises the error that has one.
    with writer:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        receipt = answers.read()
    said = fields(receipt.to_pybytes())
    return said[101][0], said[1][0]


if __name__ == "__main__":
    main()
