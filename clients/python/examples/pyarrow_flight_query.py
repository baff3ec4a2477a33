"""Asks by plain pyarrow.flight what a table holds since some moment, and what is missing in it."""

from __future__ import annotations

import argparse
import datetime

import pyarrow as pa
import pyarrow.flight as flight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("since", help="for example 2025-03-01T12:00:00Z", type=moment)
    arguments = parser.parse_args()

    with flight.FlightClient(f"grpc://{arguments.address}") as client:
        name = arguments.table.replace('"', '""')
        # Plain Flight binds no parameters, so the moment becomes text of the statement. It was parsed: it brings no SQL along.
        held = query(
            client,
            f'SELECT symbol, min(ts) AS first, max(ts) AS last, count(*) AS n FROM "{name}" '
            f"WHERE ts >= '{arguments.since.isoformat()}' GROUP BY symbol ORDER BY symbol",
        )
        for row in held.to_pylist():
            print(f"{row['symbol']}: {text(row['first'])} to {text(row['last'])}, {row['n']} rows")
        quoted = arguments.table.replace("'", "''")
        missing = query(client, f"SELECT * FROM gaps('{quoted}') ORDER BY symbol, gap_start")
        for row in missing.to_pylist():
            start, end = text(row["gap_start"]), text(row["gap_end"])
            print(f"{row['symbol']}: nothing from {start} to {end}, {row['missing_buckets']} buckets")


def query(client: flight.FlightClient, sql: str) -> pa.Table:
    """The rows of a query, whose text is a command."""
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()))
    return pa.concat_tables(client.do_get(endpoint.ticket).read_all() for endpoint in info.endpoints)


def moment(written: str) -> datetime.datetime:
    # Python 3.10 does not know the Z.
    return datetime.datetime.fromisoformat(written.replace("Z", "+00:00"))


def text(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    main()
