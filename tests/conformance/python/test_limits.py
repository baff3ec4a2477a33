"""Clients that ask for much at once: long statements, long headers, large messages, many readers, and readers that do not read."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as flight
import pytest

from conftest import Server

READERS = 1_000
CONNECTIONS = 20
# With time to spend, as many as the product promises.
PREPARED_CONNECTIONS = 200 if "COVERLINE_SOAK_SECONDS" in os.environ else 10
PREPARED_EACH = 50


def query(client: flight.FlightClient, sql: str, **options: Any) -> pa.Table:
    call = flight.FlightCallOptions(**options)
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), call)
    return client.do_get(info.endpoints[0].ticket, call).read_all()


def resident_bytes(server: Server) -> int:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_a_mebibyte_of_sql_is_refused_in_words(flight_client: flight.FlightClient, cursor: Any) -> None:
    sql = "SELECT " + "1 + " * (1 << 18) + "1"
    assert len(sql) > 1 << 20
    with pytest.raises(pa.ArrowInvalid, match="at most 65536"):
        query(flight_client, sql)
    with pytest.raises(adbc.ProgrammingError, match="at most 65536"):
        cursor.execute(sql)


def test_sixty_kibibytes_of_headers_are_taken(server: Server) -> None:
    """A JDBC tool sends every property that it has."""
    headers = [(f"property-{number:04}".encode(), b"v" * 200) for number in range(200)]
    assert 40 << 10 < sum(len(name) + len(value) + 32 for name, value in headers) < 60 << 10
    with flight.FlightClient(server.url) as client:
        assert query(client, "SELECT 42 AS n", headers=headers)["n"].to_pylist() == [42]


def test_a_message_of_a_hundred_megabytes_is_taken(flight_client: flight.FlightClient, name: str, cursor: Any) -> None:
    query(flight_client, f"CREATE TABLE {name} (s VARCHAR)")
    batch = pa.record_batch({"s": ["x" * (1 << 20)] * 100})
    assert batch.nbytes > 100_000_000
    writer, answers = flight_client.do_put(flight.FlightDescriptor.for_path(name), batch.schema)
    writer.write_batch(batch)
    writer.done_writing()
    assert answers.read() is not None
    writer.close()
    cursor.execute(f"SELECT count(*), sum(character_length(s)) FROM {name}")
    assert cursor.fetchall() == [(100, 100 << 20)]


def test_a_thousand_readers_at_once_are_all_served(server: Server, loaded: str) -> None:
    clients = [flight.FlightClient(server.url) for _ in range(CONNECTIONS)]
    ticket = clients[0].get_flight_info(flight.FlightDescriptor.for_path(loaded)).endpoints[0].ticket
    rows: list[int] = []
    failures: list[BaseException] = []

    def read(client: flight.FlightClient) -> None:
        try:
            readers = [client.do_get(ticket) for _ in range(READERS // CONNECTIONS)]
            rows.extend(reader.read_all().num_rows for reader in readers)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    assert failures == []
    assert rows == [48] * READERS


def test_a_reader_that_does_not_read_holds_up_nobody_and_nothing(tmp_path: Path) -> None:
    # A server of its own: it has to stop with such readers on it, and its memory is looked at.
    server = Server(tmp_path / "root")
    endless = "SELECT value, repeat('x', 100) AS s FROM generate_series(1, 9000000000000000)"
    with flight.FlightClient(server.url) as client, flight.FlightClient(server.url) as other:
        info = client.get_flight_info(flight.FlightDescriptor.for_command(endless.encode()))
        idle = [client.do_get(info.endpoints[0].ticket) for _ in range(20)]
        assert query(other, "SELECT 1 AS n")["n"].to_pylist() == [1]
        # Until their windows are full; then it is they who wait.
        before, patience = 0, time.monotonic() + 60
        while (now := resident_bytes(server)) > before + (1 << 20):
            assert time.monotonic() < patience, "memory keeps growing"
            before = now
            time.sleep(0.5)
        assert now < 1 << 30
        assert query(other, "SELECT 1 AS n")["n"].to_pylist() == [1]
        for reader in idle:
            reader.cancel()
        del idle
    assert server.stop() == 0


def test_prepared_statements_that_are_closed_leave_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path / "root")

    def open_and_close() -> None:
        for _ in range(PREPARED_CONNECTIONS // 10):
            connections = [adbc.connect(server.url, autocommit=True) for _ in range(10)]
            for connection in connections:
                for number in range(PREPARED_EACH):
                    with connection.cursor() as cursor:
                        cursor.adbc_prepare(f"SELECT ? + {number}")
            for connection in connections:
                connection.close()

    open_and_close()
    before = resident_bytes(server)
    open_and_close()
    grown = resident_bytes(server) - before
    print(f"{PREPARED_CONNECTIONS} connections of {PREPARED_EACH} prepared statements: {before} bytes, {grown:+} after as many again")
    assert grown < 16 << 20
    assert server.stop() == 0
