"""The client when answers are lost: outcomes that are unknown, and retries that settle them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import coverline
from conftest import Server
from coverline import _flight
from data import SCHEMA, daily_files, day_of


class Again:
    """Rows of 200 days, with something that happens when they are read for the first time, and for the second."""

    def __init__(self, *happens: Callable[[], None]) -> None:
        self.happens = happens
        self.reads = 0

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        happens = self.happens[self.reads] if self.reads < len(self.happens) else None
        self.reads += 1

        def batches() -> Iterator[pa.RecordBatch]:
            yield from day_of(0).to_batches()
            if happens is not None:
                happens()
            for number in range(1, 200):
                yield from day_of(number).to_batches()

        return pa.RecordBatchReader.from_batches(SCHEMA, batches()).__arrow_c_stream__()


def test_a_server_that_dies_during_an_append_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    server = Server(tmp_path / "root")
    client = coverline.connect(server.url)
    table = client.create_table("prices", index_column="ts", bucket="1h", entity_columns=["symbol"])
    with pytest.raises(coverline.UnknownOutcomeError) as caught:
        table.append(Again(server.kill), append_id="k")
    assert caught.value.append_id == "k"
    client.close()

    # Now there is nobody to have committed anything.
    with pytest.raises(coverline.UnavailableError):
        client = coverline.connect(server.url)


def test_retries_outlast_a_restart_of_the_server(tmp_path: Path) -> None:
    server = Server(tmp_path / "root")
    listen = server.url.removeprefix("grpc://")
    started: list[Server] = []

    def restart() -> None:
        server.kill()
        started.append(Server(tmp_path / "root", listen=listen))

    with coverline.connect(server.url) as client:
        table = client.create_table("prices", index_column="ts", bucket="1h", entity_columns=["symbol"])
        source = Again(restart)
        receipt = table.append(source, append_id="k", retries=5)
        assert source.reads >= 2
        assert (receipt.row_count, receipt.repeated) == (200 * 48, False)
        assert table.count() == 200 * 48
    assert started[0].stop() == 0


class Deaf:
    """A proxy that passes on what clients say, and, once it is deaf, not what the server answers."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("grpc://").rpartition(":")
        self.target = (host, int(port))
        self.is_deaf = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"grpc://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink, source is server), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                if not (answers and self.is_deaf):
                    sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self) -> None:
        """Ends every connection. New ones hear answers again."""
        sockets, self.sockets = self.sockets, []
        for end in sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.is_deaf = False

    def close(self) -> None:
        try:
            # Closing alone does not wake the thread that accepts, which would take one more.
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.cut()


@pytest.mark.parametrize("retries", [0, 5])
def test_an_answer_lost_in_transit_is_unknown_and_a_retry_gets_the_receipt(
    server: Server, client: coverline.Client, prices: coverline.Table, retries: int
) -> None:
    proxy = Deaf(server.url)
    through = coverline.connect(proxy.url)
    table = through.table(prices.name)
    outcome: list[coverline.Receipt | BaseException] = []

    def load() -> None:
        try:
            outcome.append(table.append(day_of(0), append_id="k", retries=retries))
        except BaseException as error:
            outcome.append(error)

    before = prices.version
    proxy.is_deaf = True
    loading = threading.Thread(target=load)
    loading.start()
    patience = time.monotonic() + 60
    while prices.version == before:
        assert time.monotonic() < patience
    proxy.cut()
    loading.join(60)
    [told] = outcome
    if retries:
        assert isinstance(told, coverline.Receipt)
        assert told.repeated
    else:
        assert isinstance(told, coverline.UnknownOutcomeError)
        assert told.append_id == "k"
        told = prices.append(day_of(0), append_id="k")
        assert told.repeated
    assert (told.version, told.row_count) == (before + 1, 48)
    assert (prices.version, prices.count()) == (before + 1, 48)
    through.close()
    proxy.close()


@pytest.mark.parametrize("params", [None, [3]])
def test_a_change_sent_as_a_query_is_unknown_when_its_answer_is_lost(
    server: Server, client: coverline.Client, name: str, params: list[object] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = client.create_table(name, schema=pa.schema([("a", pa.int64())]))
    before = plain.version
    proxy = Deaf(server.url)
    through = coverline.connect(proxy.url)
    run = _flight.Connection._info
    outcome: list[object] = []

    def run_unheard(connection: _flight.Connection, *arguments: object, **named: object) -> object:
        proxy.is_deaf = True
        return run(connection, *arguments, **named)  # type: ignore[arg-type]

    def insert() -> None:
        try:
            outcome.append(through.sql(f"INSERT INTO {name} VALUES ({'$1' if params else 3})", params))
        except BaseException as error:
            outcome.append(error)

    with monkeypatch.context() as patched:
        patched.setattr(_flight.Connection, "_info", run_unheard)
        inserting = threading.Thread(target=insert)
        inserting.start()
        patience = time.monotonic() + 60
        while not proxy.is_deaf:
            assert time.monotonic() < patience
    while plain.version == before:
        assert time.monotonic() < patience
    proxy.cut()
    inserting.join(60)
    [told] = outcome
    assert isinstance(told, coverline.UnknownOutcomeError), told
    assert plain.count() == 1
    through.close()
    proxy.close()


def test_a_change_that_has_run_is_not_called_off_by_a_lost_count(
    server: Server, client: coverline.Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = client.create_table(name, schema=pa.schema([("a", pa.int64())]))
    read = _flight.Connection._read
    for statement, kind in [
        (f"INSERT INTO {name} VALUES (1)", coverline.UnknownOutcomeError),
        (f"SELECT * FROM {name}", coverline.UnavailableError),
    ]:
        proxy = Deaf(server.url)
        through = coverline.connect(proxy.url)

        def read_too_late(connection: _flight.Connection, *arguments: object, **named: object) -> object:
            proxy.close()
            return read(connection, *arguments, **named)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(_flight.Connection, "_read", read_too_late)
            with pytest.raises(kind) as caught:
                through.sql(statement)
        assert ("is committed" in str(caught.value)) == statement.startswith("INSERT")
        through.close()
        assert plain.count() == 1


def test_retries_need_a_source_that_can_be_read_again(prices: coverline.Table) -> None:
    with pytest.raises(TypeError, match="once"):
        prices.append(day_of(0).to_reader(), append_id="k", retries=1)
    assert prices.count() == 0


@pytest.mark.parametrize("committed", [True, False])
def test_a_source_that_was_used_up_by_a_lost_try_appends_nothing_and_settles_nothing(
    prices: coverline.Table, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    class Once:
        left = day_of(0)

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            given, self.left = self.left, self.left.slice(0, 0)
            return given.__arrow_c_stream__(requested_schema)

    send = _flight.Connection.append
    sent = []

    def send_unheard(connection: _flight.Connection, table: str, reader: pa.RecordBatchReader, *rest: object) -> object:
        sent.append(table)
        if len(sent) > 1:
            return send(connection, table, reader, *rest)  # type: ignore[arg-type]
        if committed:
            send(connection, table, reader, *rest)  # type: ignore[arg-type]
            raise coverline.UnknownOutcomeError("lost")
        reader.read_all()
        raise coverline.UnavailableError("not now")

    monkeypatch.setattr(_flight.Connection, "append", send_unheard)
    with pytest.raises(coverline.UnknownOutcomeError if committed else TypeError, match="lost" if committed else "read again"):
        prices.append(Once(), append_id="k", retries=1)
    assert len(sent) == 2
    assert prices.count() == (48 if committed else 0)


def test_a_file_that_is_gone_after_a_lost_try_settles_nothing(
    prices: coverline.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = daily_files(tmp_path, 1)
    send = _flight.Connection.append

    def send_unheard(*arguments: object) -> object:
        send(*arguments)  # type: ignore[arg-type]
        path.write_bytes(b"no Parquet file")
        raise coverline.UnknownOutcomeError("lost")

    monkeypatch.setattr(_flight.Connection, "append", send_unheard)
    with pytest.raises(coverline.UnknownOutcomeError, match="lost"):
        prices.append_parquet(path, append_id="k", retries=1)
    assert prices.count() == 48
