"""Bytes of the few protobuf messages that Flight SQL, gRPC errors and Coverline exchange. Pure.

Fifteen small messages do not earn a dependency on protobuf, whose runtime must match the version of generated code.
Field numbers follow FlightSql.proto, google/rpc/status.proto, google/rpc/error_details.proto and
coverline/flight/v1/flight.proto. Unknown fields are skipped, as protobuf asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

_TYPE_URL = "type.googleapis.com/"
_SQL = _TYPE_URL + "arrow.flight.protocol.sql."
APPEND_COMMAND_URL = _TYPE_URL + "coverline.flight.v1.AppendCommand"
ERROR_INFO_URL = _TYPE_URL + "google.rpc.ErrorInfo"

# OverlapPolicy
POLICIES: Mapping[str, int] = {"reject": 1, "skip": 2}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are no such message."""


# -- headers


def min_version(value: int | Mapping[str, int]) -> str:
    """Value of the header that asks for versions at least; names are percent-encoded."""
    if isinstance(value, Mapping):
        return ",".join(f"{quote(name, safe='')}={version}" for name, version in value.items())
    return str(value)


# -- writing


def varint(value: int) -> bytes:
    """A base-128 varint; negative numbers in two's complement of 64 bits, as int32 and int64 fields have them."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def int_field(number: int, value: int) -> bytes:
    """An integer, bool or enum field; nothing at all for zero, the default."""
    return varint(number << 3 | _VARINT) + varint(value) if value else b""


def bytes_field(number: int, value: bytes | str) -> bytes:
    """A string, bytes or message field; nothing at all when empty."""
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(raw)) + raw if raw else b""


def pack_any(type_url: str, message: bytes) -> bytes:
    """google.protobuf.Any."""
    return bytes_field(1, type_url) + bytes_field(2, message)


def statement_query(sql: str) -> bytes:
    return pack_any(_SQL + "CommandStatementQuery", bytes_field(1, sql))


def statement_update(sql: str) -> bytes:
    return pack_any(_SQL + "CommandStatementUpdate", bytes_field(1, sql))


def create_prepared_statement(sql: str) -> bytes:
    return pack_any(_SQL + "ActionCreatePreparedStatementRequest", bytes_field(1, sql))


def close_prepared_statement(handle: bytes) -> bytes:
    return pack_any(_SQL + "ActionClosePreparedStatementRequest", bytes_field(1, handle))


def prepared_query(handle: bytes) -> bytes:
    return pack_any(_SQL + "CommandPreparedStatementQuery", bytes_field(1, handle))


def get_catalogs() -> bytes:
    return pack_any(_SQL + "CommandGetCatalogs", b"")


def append_command(table: str, on_overlap: str, append_id: str | None) -> bytes:
    """coverline.flight.v1.AppendCommand, one version for the whole stream."""
    message = (
        bytes_field(1, table)
        + int_field(2, POLICIES[on_overlap])
        + int_field(3, 1)
        + bytes_field(4, append_id or "")
    )
    return pack_any(APPEND_COMMAND_URL, message)


# -- reading


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field, in order of appearance."""
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _read_varint(data, position)
        elif kind == _FIXED64:
            size = 8
        elif kind == _FIXED32:
            size = 4
        else:
            raise WireError(f"field {number} has wire type {kind}")
        if position + size > len(data):
            raise WireError(f"field {number} ends after the message")
        yield number, data[position : position + size]
        position += size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise WireError("a varint is cut off or too long")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position
        shift += 7


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise WireError("a number was expected")
    return value


def _raw(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise WireError("bytes were expected")
    return value


def _text(value: int | bytes) -> str:
    return _raw(value).decode("utf-8", "replace")


def unpack_any(data: bytes) -> tuple[str, bytes]:
    """Type URL and message of a google.protobuf.Any."""
    type_url, message = "", b""
    for number, value in fields(data):
        if number == 1:
            type_url = _text(value)
        elif number == 2:
            message = _raw(value)
    return type_url, message


@dataclass(frozen=True)
class ErrorInfo:
    """google.rpc.ErrorInfo."""

    reason: str = ""
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RpcStatus:
    """google.rpc.Status, with its ErrorInfo if it has one."""

    code: int = 0
    message: str = ""
    info: ErrorInfo | None = None


def decode_error_info(data: bytes) -> ErrorInfo:
    reason, domain, metadata = "", "", {}
    for number, value in fields(data):
        if number == 1:
            reason = _text(value)
        elif number == 2:
            domain = _text(value)
        elif number == 3:
            entry = dict(fields(_raw(value)))
            metadata[_text(entry.get(1, b""))] = _text(entry.get(2, b""))
    return ErrorInfo(reason, domain, metadata)


def decode_status(data: bytes) -> RpcStatus:
    code, message, info = 0, "", None
    for number, value in fields(data):
        if number == 1:
            code = _int(value)
        elif number == 2:
            message = _text(value)
        elif number == 3:
            type_url, detail = unpack_any(_raw(value))
            if type_url == ERROR_INFO_URL:
                info = decode_error_info(detail)
    return RpcStatus(code, message, info)


def decode_record_count(data: bytes) -> int:
    """DoPutUpdateResult: rows that a statement changed; -1 when the server does not know."""
    for number, value in fields(data):
        if number == 1:
            return _signed(_int(value))
    return 0


@dataclass(frozen=True)
class PreparedStatement:
    """ActionCreatePreparedStatementResult, as far as it is needed here."""

    handle: bytes


def decode_prepared_statement(data: bytes) -> PreparedStatement:
    _, message = unpack_any(data)
    for number, value in fields(message):
        if number == 1:
            return PreparedStatement(_raw(value))
    return PreparedStatement(b"")


def decode_bound_handle(data: bytes) -> bytes:
    """DoPutPreparedStatementResult: the handle to go on with; empty when it stays the same."""
    for number, value in fields(data):
        if number == 1:
            return _raw(value)
    return b""


def decode_receipt(data: bytes) -> dict[str, int | str | bool]:
    """coverline.flight.v1.AppendReceipt, by the names that `Receipt` has."""
    receipt: dict[str, int | str | bool] = {
        "table": "",
        "version": 0,
        "row_count": 0,
        "rows_skipped": 0,
        "buckets_covered": 0,
        "segment_count": 0,
        "repeated": False,
    }
    names = {101: "version", 102: "rows_skipped", 103: "buckets_covered", 104: "segment_count"}
    for number, value in fields(data):
        if number == 1:
            receipt["row_count"] = _signed(_int(value))
        elif number == 100:
            receipt["table"] = _text(value)
        elif number == 105:
            receipt["repeated"] = bool(_int(value))
        elif number in names:
            receipt[names[number]] = _int(value)
    return receipt


def decode_ticket_version(ticket: bytes) -> int:
    """Version of the one table that a query's ticket is pinned to.

    A ticket is a packed TicketStatementQuery whose handle is a packed coverline.flight.v1.QueryTicket.
    """
    _, statement = unpack_any(ticket)
    handle = b"".join(_raw(value) for number, value in fields(statement) if number == 1)
    _, query = unpack_any(handle)
    for number, value in fields(query):
        if number == 2:
            pin = dict(fields(_raw(value)))
            return _int(pin.get(3, 0))
    raise WireError("the ticket names no table")
