"""Clients that ask for much at once: long statements, long headers, large messages, many readers, and readers that do not read."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import numpy
import pyarrow as pa
import pyarrow.flight as flight
import pytest

from conftest import Server, put

READERS = 1_000
CONNECTIONS = 20
PREPARED_CONNECTIONS = 200
PREPARED_EACH = 50


def query(client: flight.FlightClient, sql: str, **options: Any) -> pa.Table:
    call = flight.FlightCallOptions(**options)
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), call)
    return client.do_get(info.endpoints[0].ticket, call).read_all()


def resident_bytes(server: Server, *, line_of: str = "VmRSS") -> int:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{line_of}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {line_of}")


def test_a_mebibyte_of_sql_is_refused_in_words(flight_client: flight.FlightClient, cursor: Any) -> None:
    sql = "SELECT " + "1 + " * (1 << 18) + "1"
    assert len(sql) > 1 << 20
    with pytest.raises(pa.ArrowInvalid, match="at most 65536"):
        query(flight_client, sql)
    with pytest.raises(adbc.ProgrammingError, match="at most 65536"):
        cursor.execute(sql)


def headers_of(count: int, value_bytes: int) -> list[tuple[bytes, bytes]]:
    return [(f"property-{number:04}".encode(), b"v" * value_bytes) for number in range(count)]


def header_list_bytes(headers: list[tuple[bytes, bytes]]) -> int:
    """As HTTP/2 counts them."""
    return sum(len(name) + len(value) + 32 for name, value in headers)


def test_sixty_kibibytes_of_headers_are_taken(server: Server) -> None:
    """A JDBC tool sends every property that it has."""
    headers = headers_of(246, 205)
    # gRPC's own come to these.
    assert 60 << 10 <= header_list_bytes(headers) < 63 << 10
    with flight.FlightClient(server.url) as client:
        assert query(client, "SELECT 42 AS n", headers=headers)["n"].to_pylist() == [42]


def test_more_headers_than_that_are_refused_and_the_client_goes_on(server: Server) -> None:
    headers = headers_of(290, 205)
    assert header_list_bytes(headers) > 64 << 10
    with flight.FlightClient(server.url) as client:
        for _ in range(2):
            # 431 is what HTTP calls it.
            with pytest.raises(flight.FlightError, match="431"):
                query(client, "SELECT 42 AS n", headers=headers)
            assert query(client, "SELECT 42 AS n")["n"].to_pylist() == [42]


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


# Rows that do not compress, as messages of a mebibyte or many more of sixteen kibibytes. A quarter of them is well above what the
# server takes for writing whatever the length of the stream, some 130 MB.
STREAM_BYTES = 768 << 20
TEXT_BYTES = 1 << 10


@pytest.mark.parametrize("rows", [1024, 16])
def test_memory_for_a_long_append_does_not_grow_with_it(tmp_path: Path, rows: int) -> None:
    # A server of its own, whose memory is looked at.
    root = tmp_path / "root"
    server = Server(root)
    schema = pa.schema([("i", pa.int64()), ("s", pa.binary())])
    messages = STREAM_BYTES // (rows * TEXT_BYTES)
    random = numpy.random.default_rng(seed=rows)

    def batch(number: int) -> pa.RecordBatch:
        # Made as they are sent, each in one buffer: this process is not under test.
        offsets = pa.py_buffer(numpy.arange(rows + 1, dtype=numpy.int32) * TEXT_BYTES)
        texts = pa.Array.from_buffers(pa.binary(), rows, [None, offsets, pa.py_buffer(random.bytes(rows * TEXT_BYTES))])
        index = pa.array(numpy.arange(number * rows, (number + 1) * rows))
        return pa.RecordBatch.from_arrays([index, texts], schema=schema)

    with flight.FlightClient(server.url) as client:
        query(client, "CREATE TABLE t WITH (index_column = 'i', bucket = '1000')")
        put(client, "t", [batch(-1)])
        before = resident_bytes(server)
        writer, answers = client.do_put(flight.FlightDescriptor.for_path("t"), schema)
        for number in range(messages):
            writer.write_batch(batch(number))
        writer.done_writing()
        assert answers.read() is not None
        writer.close()
        # Most that was resident at any time.
        grown = resident_bytes(server, line_of="VmHWM") - before
        print(f"{messages} messages of {rows} rows: {before} bytes before, {grown:+} at most meanwhile")
        assert grown < STREAM_BYTES // 4
        assert query(client, "SELECT count(*) AS n FROM t")["n"].to_pylist() == [(messages + 1) * rows]
    assert server.stop() == 0
    shutil.rmtree(root)


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


PING, GOAWAY, ACKNOWLEDGED = 6, 7, 1
PINGS = 2_000
FRAME_HEADER_BYTES = 9
ANSWER_SECONDS_MAX = 60.0


class Http2:
    """One HTTP/2 connection, frame by frame: what gRPC libraries do with it out of sight."""

    def __init__(self, server: Server) -> None:
        host, _, port = server.url.removeprefix("grpc://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), ANSWER_SECONDS_MAX)
        self.stream = self.socket.makefile("rb")
        # The preface, and settings of which each is what it is by default.
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._frame(4, 0, b""))

    @staticmethod
    def _frame(kind: int, flags: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload

    def ping(self, payload: bytes, flags: int = 0) -> None:
        self.socket.sendall(self._frame(PING, flags, payload))

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Type, flags and payload of each frame, until the server closes."""
        while len(header := self.stream.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
            yield header[3], header[4], self.stream.read(int.from_bytes(header[:3], "big"))

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


def test_pings_of_a_client_are_all_answered(server: Server) -> None:
    """Clients that look after their connection often: a server that calls it too often ends the connection, and all calls on it."""
    connection = Http2(server)
    sent = [number.to_bytes(8, "big") for number in range(PINGS)]
    answered: list[bytes] = []
    frames = connection.frames()
    for start in range(0, PINGS, 100):
        for payload in sent[start : start + 100]:
            connection.ping(payload)
        while len(answered) < start + 100:
            kind, flags, payload = next(frames)
            assert kind != GOAWAY
            if (kind, flags) == (PING, ACKNOWLEDGED):
                answered.append(payload)
    assert answered == sent
    connection.close()


def test_a_server_that_stops_lets_clients_finish(tmp_path: Path) -> None:
    """It says that it takes no more, with a last stream beyond all, so that no call under way is taken for lost."""
    server = Server(tmp_path / "root")
    connection = Http2(server)
    connection.ping(b"are you?")
    frames = connection.frames()
    assert (PING, ACKNOWLEDGED, b"are you?") in frames
    with flight.FlightClient(server.url) as client:
        # More than the windows of a stream and of a connection hold: the server is in the midst of it when it is to stop.
        series = flight.FlightDescriptor.for_command(b"SELECT value FROM generate_series(1, 5000000)")
        reader = client.do_get(client.get_flight_info(series).endpoints[0].ticket)
        rows = reader.read_chunk().data.num_rows
        server.process.send_signal(signal.SIGTERM)
        goodbyes = [next(payload for kind, _, payload in frames if kind == GOAWAY)]
        rows += sum(chunk.data.num_rows for chunk in reader)
    assert rows == 5_000_000
    for kind, flags, payload in frames:
        if kind == GOAWAY:
            goodbyes.append(payload)
        elif kind == PING and flags != ACKNOWLEDGED:
            connection.ping(payload, ACKNOWLEDGED)
    connection.close()
    # Last stream, and an error code of zero.
    assert goodbyes[0] == b"\x7f\xff\xff\xff" + bytes(4)
    assert all(payload[4:8] == bytes(4) for payload in goodbyes)
    assert server.stop() == 0
