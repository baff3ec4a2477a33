"""A client of DuckDB's server (quack). Runs in the environment that has DuckDB 1.5 and the extension, and nothing else."""

from __future__ import annotations

from importlib import resources

import duckdb

TOKEN = "benchmark"


class Connection:
    def __init__(self, address: str) -> None:
        self.connection = open_with_extensions()
        # An instance for each client, each with threads for all cores, would spend its time on waking those.
        self.connection.execute("SET threads = 1")
        self.connection.execute(f"CREATE SECRET (TYPE quack, TOKEN '{TOKEN}')")
        self.connection.execute(f"ATTACH '{address}' AS remote")

    def begin(self) -> None:
        """Forgets the tables of the server, so that a new one is found."""
        self.connection.execute("CALL quack_clear_cache()")

    def payload(self, table: str, entity: int, first_second: int, rows: int) -> str:
        if rows == 1:
            # Handed to the server as it is, which takes less time on both sides than an INSERT into the attached table.
            insert = f"INSERT INTO {table} VALUES (TIMESTAMP ''1970-01-01'' + INTERVAL ({first_second}) SECOND, {entity}, 0.0)"
            return f"SELECT * FROM quack_query_by_name('remote', '{insert}')"
        return (
            f"INSERT INTO remote.{table} SELECT TIMESTAMP '1970-01-01' + INTERVAL (CAST({first_second} + i AS BIGINT)) SECOND, "
            f"{entity}, i FROM range({rows}) t(i)"
        )

    def append(self, payload: str) -> None:
        self.connection.execute(payload).fetchall()

    def counts(self, table: str) -> list[tuple[int, int]]:
        """Rows of each entity, counted by the server."""
        return self.connection.execute(
            f"SELECT * FROM quack_query_by_name('remote', 'SELECT entity, count(*) FROM {table} GROUP BY entity')"
        ).fetchall()


def connect(address: str) -> Connection:
    return Connection(address)


def open_with_extensions(file: str = ":memory:") -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(file, config={"allow_unsigned_extensions": "true"})
    for name in ("httpfs", "quack"):
        folder = next((resources.files(f"duckdb_extension_{name}") / "extensions").iterdir())
        connection.execute(f"LOAD '{folder / f'{name}.duckdb_extension'}'")
    return connection
