"""The Flight and Flight SQL calls that the package makes, on one connection, with errors as `CoverlineError`.

SQL goes over pyarrow.flight like everything else and not over ADBC: the connection may be shared by threads (an ADBC connection may
not), a query costs two round trips instead of five, results arrive without a second runtime in the process, and every error
carries the same structured details. ADBC is offered by `Client.dbapi` for what expects a DB-API connection.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight

from . import _sql, _wire
from ._sources import SourceError, wire_batches, wire_schema
from .errors import CoverlineError, UnknownOutcomeError, from_flight

_FLIGHT_ERRORS = (pa.ArrowException, flight.FlightError, OSError, KeyError)


class _Call:
    """One call: keeps the google.rpc.Status of its trailers, which pyarrow hides for most errors."""

    _starting = threading.local()

    def __init__(self) -> None:
        self.trailer: bytes | None = None

    def __enter__(self) -> _Call:
        # pyarrow asks for the middleware of a call in the thread that starts it.
        _Call._starting.call = self
        return self

    def __exit__(self, *_: object) -> None:
        _Call._starting.call = None

    @staticmethod
    def starting() -> _Call | None:
        return getattr(_Call._starting, "call", None)

    def error(self, error: BaseException, **known: Any) -> CoverlineError:
        return from_flight(error, trailer=self.trailer, **known)


class _Middleware(flight.ClientMiddleware):  # type: ignore[misc]
    def __init__(self, call: _Call) -> None:
        super().__init__()
        self._call = call

    def received_headers(self, headers: Mapping[str, Sequence[str | bytes]]) -> None:
        for value in headers.get("grpc-status-details-bin", ()):
            if isinstance(value, bytes):
                self._call.trailer = value


class _MiddlewareFactory(flight.ClientMiddlewareFactory):  # type: ignore[misc]
    def start_call(self, info: Any) -> _Middleware | None:
        call = _Call.starting()
        return None if call is None else _Middleware(call)


class Connection:
    """A Flight connection. Threads may share it."""

    def __init__(self, url: str, headers: Mapping[str, str], tls: Mapping[str, bytes] | None = None) -> None:
        self.url = url
        options: dict[str, Any] = {"middleware": [_MiddlewareFactory()], **(tls or {})}
        try:
            self._client = flight.FlightClient(_location(url), **options)
        except _FLIGHT_ERRORS as error:
            raise from_flight(error) from error
        self._headers = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        self._options = flight.FlightCallOptions(headers=self._headers)

    def close(self) -> None:
        self._client.close()

    def ping(self) -> None:
        """Fails when nobody answers there, or somebody who does not speak Flight SQL."""
        self._info(_wire.get_catalogs())

    # -- queries

    def query(
        self,
        sql: str,
        params: Sequence[object] | None = None,
        min_version: int | Mapping[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        """Rows of a query, as they come. Nothing is read before the first batch is asked for.

        A statement that changes something runs once, before its result is asked for.
        """
        if params:
            return self._prepared(sql, params, min_version)
        changes = _sql.may_change(sql)
        info = self._info(_wire.statement_query(sql), min_version, changes=changes)
        return self._read(info, changes=changes)

    def describe(self, sql: str) -> tuple[pa.Schema, bytes]:
        """Schema of a query, and its ticket, without running it."""
        info = self._info(_wire.statement_query(sql))
        return info.schema, info.endpoints[0].ticket.ticket

    def _info(
        self,
        command: bytes,
        min_version: int | Mapping[str, int] | None = None,
        *,
        changes: bool = False,
    ) -> flight.FlightInfo:
        # Only this call fixes versions; the ticket carries them from then on. It also runs a statement that changes something.
        options = self._options
        if min_version is not None:
            header = (b"x-coverline-min-version", _wire.min_version(min_version).encode())
            options = flight.FlightCallOptions(headers=[*self._headers, header])
        with _Call() as call:
            try:
                return self._client.get_flight_info(
                    flight.FlightDescriptor.for_command(command), options
                )
            except _FLIGHT_ERRORS as error:
                raise call.error(error, commit_asked=changes) from error

    def _read(
        self, info: flight.FlightInfo, cleanup: bytes | None = None, *, changes: bool
    ) -> pa.RecordBatchReader:
        """The rows behind every endpoint; `cleanup` is a prepared statement to close after the last."""
        readers = []

        def failed(call: _Call, error: BaseException) -> CoverlineError:
            reason = call.error(error)
            if not changes:
                return reason
            # Whatever the reason is, it comes too late to undo anything.
            return UnknownOutcomeError(
                "the statement has run and what it changes is committed, but its answer is incomplete; look at what it changed "
                f"instead of running it again: {reason}",
                reason=reason.reason,
                details=reason.details,
            )

        with _Call() as call:
            try:
                for endpoint in info.endpoints:
                    readers.append(self._client.do_get(endpoint.ticket, self._options))
                schema = readers[0].schema if readers else info.schema
            except _FLIGHT_ERRORS as error:
                self._close_prepared(cleanup)
                raise failed(call, error) from error

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for reader in readers:
                    while True:
                        try:
                            chunk = reader.read_chunk()
                        except StopIteration:
                            break
                        if chunk.data is not None:
                            yield chunk.data
            except _FLIGHT_ERRORS as error:
                raise failed(call, error) from error
            finally:
                # Harmless at the end of a stream; before it, it tells the server to stop.
                for reader in readers:
                    reader.cancel()
                self._close_prepared(cleanup)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _prepared(
        self,
        sql: str,
        params: Sequence[object],
        min_version: int | Mapping[str, int] | None = None,
    ) -> pa.RecordBatchReader:
        handle = b""
        changes = _sql.may_change(sql)
        try:
            with _Call() as call:
                try:
                    handle = self._prepare(sql)
                    handle = self._bind(handle, params) or handle
                except _FLIGHT_ERRORS as error:
                    raise call.error(error) from error
            info = self._info(_wire.prepared_query(handle), min_version, changes=changes)
        except BaseException:
            self._close_prepared(handle)
            raise
        return self._read(info, handle, changes=changes)

    def _prepare(self, sql: str) -> bytes:
        results = self._client.do_action(
            flight.Action("CreatePreparedStatement", _wire.create_prepared_statement(sql)),
            self._options,
        )
        [created] = [result.body.to_pybytes() for result in results]
        return _wire.decode_prepared_statement(created).handle

    def _bind(self, handle: bytes, params: Sequence[object]) -> bytes:
        """Sends values for the placeholders. The handle to go on with; empty when it stays the same."""
        row = pa.RecordBatch.from_arrays(
            [pa.array([value]) for value in params],
            names=[f"${number}" for number in range(1, len(params) + 1)],
        )
        writer, answers = self._client.do_put(
            flight.FlightDescriptor.for_command(_wire.prepared_query(handle)),
            row.schema,
            self._options,
        )
        try:
            writer.write_batch(row)
            writer.done_writing()
            answer = answers.read()
        finally:
            writer.close()
        return b"" if answer is None else _wire.decode_bound_handle(answer.to_pybytes())

    def _close_prepared(self, handle: bytes | None) -> None:
        if not handle:
            return
        try:
            list(
                self._client.do_action(
                    flight.Action(
                        "ClosePreparedStatement", _wire.close_prepared_statement(handle)
                    ),
                    self._options,
                )
            )
        except _FLIGHT_ERRORS:
            # The server forgets handles by itself; an error here must not hide the result or the error of the query.
            pass

    # -- changes

    def update(self, sql: str) -> int:
        """Runs a statement that is no query. Rows changed; -1 when the server does not say."""
        writer = None
        with _Call() as call:
            try:
                writer, answers = self._client.do_put(
                    flight.FlightDescriptor.for_command(_wire.statement_update(sql)),
                    pa.schema([]),
                    self._options,
                )
                writer.done_writing()
                answer = answers.read()
                writer.close()
            except _FLIGHT_ERRORS as error:
                raise call.error(_close(writer) or error, commit_asked=True) from error
        return -1 if answer is None else _wire.decode_record_count(answer.to_pybytes())

    def action(
        self, name: str, body: Mapping[str, object], *, changes: bool = True
    ) -> list[dict[str, Any]]:
        """Calls one of Coverline's own actions: JSON goes in, one JSON object per result comes out."""
        with _Call() as call:
            try:
                results = self._client.do_action(
                    flight.Action(name, json.dumps(body).encode()), self._options
                )
                return [json.loads(result.body.to_pybytes()) for result in results]
            except _FLIGHT_ERRORS as error:
                raise call.error(error, commit_asked=changes) from error

    def append(
        self,
        table: str,
        reader: pa.RecordBatchReader,
        on_overlap: str,
        append_id: str | None,
    ) -> dict[str, int | str | bool]:
        """Sends the rows of `reader` as one append.

        Raises:
            SourceError: with what the reader raised, after the server was told to drop what it had got.
        """
        schema = wire_schema(reader.schema)
        command = _wire.append_command(table, on_overlap, append_id)
        writer = None
        call = _Call()
        try:
            with call:
                writer, answers = self._client.do_put(
                    flight.FlightDescriptor.for_command(command), schema, self._options
                )
            for piece in _pieces(reader, schema):
                writer.write_batch(piece)
            writer.done_writing()
            answer = answers.read()
            writer.close()
        except SourceError:
            _abandon(writer)
            raise
        except _FLIGHT_ERRORS as error:
            # The reason that the server gave shows only when the stream is closed.
            reason = _close(writer) or error
            # Closing ends the stream, which is what asks for the commit; what the server had got by then, nobody knows.
            raise call.error(reason, append_id=append_id, commit_asked=True) from error
        except BaseException:
            _abandon(writer)
            raise
        if answer is None:
            raise from_flight(
                flight.FlightUnavailableError("the stream ended without a receipt"),
                append_id=append_id,
                commit_asked=True,
            )
        return _wire.decode_receipt(answer.to_pybytes())


def _pieces(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = reader.read_next_batch()
            pieces = list(wire_batches(batch, schema))
        except StopIteration:
            return
        except Exception as error:
            raise SourceError(error) from error
        yield from pieces


def _close(writer: Any) -> BaseException | None:
    """Closes a stream that broke, and returns the reason that the server gave."""
    if writer is None:
        return None
    try:
        writer.close()
    except _FLIGHT_ERRORS as error:
        return error
    return None


ABORT_MARK = b"coverline:abort"


def _abandon(writer: Any) -> None:
    """Ends a stream so that the server does not commit it.

    pyarrow cannot cancel a stream that it writes: closing or dropping it ends it cleanly, and the server would commit the rows
    that it had got. A message without a record batch makes the server refuse the whole stream.
    """
    if writer is None:
        return
    try:
        writer.write_metadata(ABORT_MARK)
    except _FLIGHT_ERRORS:
        pass
    _close(writer)


def _location(url: str) -> str:
    """pyarrow's spelling of a URL."""
    scheme, separator, rest = url.partition("://")
    if not separator or not rest:
        raise ValueError(
            f'"{url}" is no server address; write grpc://HOST:PORT or grpc+tls://HOST:PORT'
        )
    spelling = {"grpc": "grpc+tcp", "grpc+tcp": "grpc+tcp", "grpc+tls": "grpc+tls"}.get(scheme)
    if spelling is None:
        raise ValueError(
            f'"{url}" has the unknown scheme "{scheme}"; write grpc://HOST:PORT or grpc+tls://HOST:PORT'
        )
    return f"{spelling}://{rest.rstrip('/')}"
