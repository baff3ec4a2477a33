"""A real server for the session, and rows to put into it. COVERLINE_BIN names the binary."""

from __future__ import annotations

import datetime
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as flight
import pytest

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
UTC = datetime.timezone.utc
DAY = datetime.datetime(2025, 3, 1, tzinfo=UTC)
# An authority that nobody else trusts, and what it says of localhost.
TLS = Path(__file__).resolve().parents[3] / "flight-server" / "tests" / "tls"
SCHEMA = pa.schema([("ts", pa.timestamp("us", "UTC")), ("symbol", pa.string()), ("close", pa.float64())])


def binary() -> str:
    """The binary under test. A missing one is a failure: a suite that skips itself proves nothing."""
    path = os.environ.get("COVERLINE_BIN", "")
    if not os.access(path, os.X_OK):
        pytest.fail(f'COVERLINE_BIN is "{path}", which is no program; run tests/run conformance', pytrace=False)
    return path


def day_of(number: int, *, hours: range = range(24), symbols: tuple[str, ...] = ("AAPL", "NVDA")) -> pa.Table:
    """One row per symbol and hour of a day, counted from 0."""
    start = DAY + datetime.timedelta(days=number)
    return pa.Table.from_pylist(
        [
            {"ts": start + datetime.timedelta(hours=hour), "symbol": symbol, "close": 100.0 + hour}
            for symbol in symbols
            for hour in hours
        ],
        schema=SCHEMA,
    )


class Server:
    """A `coverline serve` process over a folder."""

    def __init__(self, root: Path, *arguments: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.log = root.parent / f"{root.name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", str(root), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], READY_SECONDS_MAX)
        line = self.process.stdout.readline().decode().strip() if ready else ""
        if not line.startswith("listening on grpc"):
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            pytest.fail(f'the server said "{line}" instead of where it listens; its log: {self.log.read_text()[-2000:]}')
        self.url = line.removeprefix("listening on ")

    def stop(self) -> int:
        """Stops it in order. Its exit code."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"the server did not stop within {STOP_SECONDS_MAX:.0f} s of SIGTERM; is a query of a client that went away "
                "still running?"
            ) from None
        finally:
            self.process.stdout.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "root")
    yield server
    assert server.process.poll() is None, f"the server died: {server.log.read_text()[-2000:]}"
    assert server.stop() == 0


@pytest.fixture(scope="session")
def flight_client(server: Server) -> Iterator[flight.FlightClient]:
    with flight.FlightClient(server.url) as client:
        yield client


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    with adbc.connect(server.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def cursor(connection: Any) -> Iterator[Any]:
    with connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def name() -> str:
    """A table name of the test's own."""
    return f"t_{time.monotonic_ns()}"


@pytest.fixture
def prices(cursor: Any, name: str) -> str:
    """Name of an empty table: index `ts`, bucket one hour, entity `symbol`."""
    cursor.execute(f"CREATE TABLE {name} WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')")
    return name


@pytest.fixture
def loaded(flight_client: flight.FlightClient, prices: str) -> str:
    """The same with one day of rows, 48."""
    put(flight_client, prices, day_of(0))
    return prices


@pytest.fixture
def count(cursor: Any) -> Callable[[str], int]:
    """Rows of a table, read anew."""

    def read(table: str) -> int:
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        [(rows,)] = cursor.fetchall()
        return int(rows)

    return read


def put(
    client: flight.FlightClient,
    table: str,
    data: pa.Table | list[pa.RecordBatch],
    headers: dict[str, str] | None = None,
    schema: pa.Schema | None = None,
) -> bytes:
    """A plain Flight append, as a script would write it. The receipt's bytes."""
    options = flight.FlightCallOptions(headers=[(k.encode(), v.encode()) for k, v in (headers or {}).items()])
    batches = data.to_batches() if isinstance(data, pa.Table) else data
    schema = schema or (data.schema if isinstance(data, pa.Table) else batches[0].schema)
    writer, answers = client.do_put(flight.FlightDescriptor.for_path(table), schema, options)
    failed = None
    try:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        answer = answers.read()
    except pa.ArrowException as error:
        failed = error
    # The reason that the server gave shows at the end of the stream.
    writer.close()
    if failed is not None:
        raise failed
    assert answer is not None
    return answer.to_pybytes()


def record_count(message: bytes) -> int:
    """Field 1, a varint, of a protobuf message: the count in DoPutUpdateResult."""
    if not message or message[0] != 0x08:
        return 0
    value = shift = 0
    for byte in message[1:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value - (1 << 64) if value >= 1 << 63 else value


def pack(type_name: str, message: bytes = b"") -> bytes:
    """A google.protobuf.Any around a message shorter than 16 KiB."""
    url = b"type.googleapis.com/" + type_name.encode()
    return field(1, url) + field(2, message)


def field(number: int, value: bytes) -> bytes:
    """A bytes field of a protobuf message."""
    if not value:
        return b""
    size, length = len(value), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value
