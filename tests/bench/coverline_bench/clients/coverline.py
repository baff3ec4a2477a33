"""A stock pyarrow Flight client of Coverline: one DoPut for each append, Flight SQL for a count."""

from __future__ import annotations

import adbc_driver_flightsql.dbapi
import pyarrow as pa
import pyarrow.flight as flight

from coverline_bench import generate
from coverline_bench.coverline import append

# Otherwise gRPC lets all clients of a process share one connection.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class Connection:
    def __init__(self, address: str) -> None:
        self.address = address
        self.flight = flight.FlightClient(address, generic_options=OWN_CONNECTION)
        self.sql: adbc_driver_flightsql.dbapi.Connection | None = None

    def begin(self) -> None:
        """Nothing is remembered from one job to the next."""

    def payload(self, table: str, entity: int, first_second: int, rows: int) -> tuple[str, pa.Table]:
        return table, generate.small(first_second, rows, entity)

    def append(self, payload: tuple[str, pa.Table]) -> None:
        append(self.flight, *payload)

    def counts(self, table: str) -> list[tuple[int, int]]:
        """Rows of each entity."""
        if self.sql is None:
            self.sql = adbc_driver_flightsql.dbapi.connect(self.address, autocommit=True)
        with self.sql.cursor() as cursor:
            cursor.execute(f"SELECT entity, count(*) FROM {table} GROUP BY entity")
            answer = cursor.fetch_arrow_table()
        return list(zip(answer.column(0).to_pylist(), answer.column(1).to_pylist()))


def connect(address: str) -> Connection:
    return Connection(address)
