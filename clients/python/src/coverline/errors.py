"""What can go wrong, as exceptions, and how a Flight error becomes one of them.

One class exists only where the right reaction differs. The class is decided by the `reason` of the google.rpc.ErrorInfo that
Coverline attaches to its errors; errors without one (a connection that broke, a proxy that answered) are judged by the gRPC
code as far as pyarrow lets it be seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.flight as flight

from . import _wire


class CoverlineError(Exception):
    """Any error of this package.

    Attributes:
        reason: the server's word for it, such as ``"COVERAGE_OVERLAP"``; empty when the server said none.
        details: what the server attached, text by name.
        table_root: folder or URL of the table, on errors of `TimeSeriesTable` and `Session`; else None.
    """

    def __init__(
        self, message: str, *, reason: str = "", details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.details: Mapping[str, str] = dict(details or {})
        self.table_root: str | None = None


class NotFoundError(CoverlineError):
    """No such table, column or version: create it or correct the name."""


class AlreadyExistsError(CoverlineError):
    """The thing to create is there already: use it or choose another name."""


class CoverageOverlapError(CoverlineError):
    """The append touches (entity, bucket) pairs that another append owns. Nothing was committed.

    Attributes:
        table: name of the table.
        overlap_count: owned pairs that the append touches, as far as it was read.
        example_entity: one of them, ``symbol="NVDA"``; empty for tables without entity columns.
        example_bucket_range: start and end (exclusive) of that bucket as text, RFC 3339 in UTC for timestamps.
        owner_version: version that holds it; None when it could not be determined.
        table_version: version that the append was checked against.
        identical: True when the append has the very rows of the one that owns the pair, in the same order, so that it only repeats
            what is there; False when it does not, as a revision; None when the server does not know.
    """

    def __init__(
        self, message: str, *, reason: str = "", details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, reason=reason, details=details)
        self.table = self.details.get("table", "")
        self.overlap_count = _number(self.details.get("overlap_count")) or 0
        self.example_entity = self.details.get("example_entity", "")
        self.example_bucket_range = (
            self.details.get("bucket_start", ""),
            self.details.get("bucket_end", ""),
        )
        self.owner_version = _number(self.details.get("owner_version"))
        self.table_version = _number(self.details.get("table_version")) or 0
        self.identical = {"true": True, "false": False}.get(self.details.get("identical", ""))

    @property
    def conflict_count(self) -> int:
        """Same as `overlap_count`, by the name that other libraries use."""
        return self.overlap_count

    @property
    def example_bucket(self) -> str:
        """Start of the example bucket."""
        return self.example_bucket_range[0]

    @property
    def example_index_interval(self) -> str:
        """The example bucket as ``[start, end)``."""
        return "[{}, {})".format(*self.example_bucket_range)


class SchemaMismatchError(CoverlineError):
    """The data does not fit the table's schema; the message names the column and both types."""


class ConflictError(CoverlineError):
    """Another writer won and nothing was committed: try again."""


class UnknownOutcomeError(CoverlineError):
    """Nobody knows whether the change was committed: the connection broke, or the server said so.

    Repeat an append that had an `append_id`, with the same one: if it was committed, that gives its receipt, and else it is
    committed now. ``append(..., append_id=..., retries=N)`` does so by itself. Without an id, repeat it on a table with an index:
    a `CoverageOverlapError` whose `identical` is True says that it was committed. A plain table would take the rows twice: look
    into it first. So is a statement that inserts, creates or drops: look before running it again.

    Attributes:
        append_id: the id it had; None when it had none.
    """

    append_id: str | None = None


class QueryError(CoverlineError):
    """The SQL is wrong, or its evaluation failed."""


class InvalidInputError(CoverlineError):
    """The request is wrong whatever the state of the table: correct it."""


class PreconditionError(CoverlineError):
    """The request is right but the state forbids it: an append id that was used for other rows, a read-only root."""


class UnavailableError(CoverlineError):
    """The server cannot be reached, or cannot do it now. Nothing was committed: try later."""


class ExhaustedError(CoverlineError):
    """A limit or the disk is used up. Nothing was committed: make room or ask for less."""


class CorruptError(CoverlineError):
    """Stored bytes are damaged or missing: restore them from a backup."""


class NotSupportedError(CoverlineError):
    """Coverline does not do this."""


class PermissionDeniedError(CoverlineError):
    """Credentials are missing, wrong, or not enough."""


class CancelledError(CoverlineError):
    """The call was cancelled or ran out of time."""


class InternalError(CoverlineError):
    """A bug in Coverline: report the text."""


_BY_REASON: Mapping[str, type[CoverlineError]] = {
    "COVERAGE_OVERLAP": CoverageOverlapError,
    "SCHEMA_MISMATCH": SchemaMismatchError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "CONFLICT": ConflictError,
    "INDETERMINATE": UnknownOutcomeError,
    "CORRUPT": CorruptError,
    "EXHAUSTED": ExhaustedError,
    "INVALID": InvalidInputError,
    "PRECONDITION": PreconditionError,
    "UNAVAILABLE": UnavailableError,
    "UNSUPPORTED": NotSupportedError,
    "INTERNAL": InternalError,
    "QUERY": QueryError,
}

_NOT_FOUND = 5

# gRPC codes, from google.rpc.Status when there is one and from pyarrow's words otherwise.
_BY_CODE: Mapping[int, type[CoverlineError]] = {
    1: CancelledError,
    2: InternalError,
    3: InvalidInputError,
    4: CancelledError,
    _NOT_FOUND: NotFoundError,
    6: AlreadyExistsError,
    7: PermissionDeniedError,
    8: ExhaustedError,
    9: PreconditionError,
    10: ConflictError,
    11: InvalidInputError,
    12: NotSupportedError,
    13: InternalError,
    14: UnavailableError,
    15: CorruptError,
    16: PermissionDeniedError,
}

# pyarrow maps several gRPC codes to one class; its text tells them apart.
_BY_TEXT: tuple[tuple[str, type[CoverlineError]], ...] = (
    ("already exists error", AlreadyExistsError),
    ("precondition failed error", PreconditionError),
    ("resource exhausted error", ExhaustedError),
    ("out of range error", InvalidInputError),
    ("aborted error", ConflictError),
    ("data loss error", CorruptError),
)

_BY_CLASS: tuple[tuple[type[BaseException], type[CoverlineError]], ...] = (
    (flight.FlightUnavailableError, UnavailableError),
    (flight.FlightUnauthenticatedError, PermissionDeniedError),
    (flight.FlightUnauthorizedError, PermissionDeniedError),
    (flight.FlightTimedOutError, CancelledError),
    (flight.FlightCancelledError, CancelledError),
    (pa.ArrowCancelled, CancelledError),
    (pa.ArrowKeyError, NotFoundError),
    (pa.ArrowNotImplementedError, NotSupportedError),
    (pa.ArrowInvalid, InvalidInputError),
)

# Codes of contract clause C2 after which an append may be there without the client having been told.
_AMBIGUOUS = (CancelledError, InternalError, UnavailableError)

# gRPC's words when there was no connection to begin with.
_NEVER_SENT = "failed to connect"

_NOISE = re.compile(r"\.? (gRPC client debug context|Client context|Detail): .*", re.DOTALL)
_PREFIX = re.compile(r"^.*?(?:returned|Flight) .*?error, with message: ", re.DOTALL)


def from_flight(
    error: BaseException,
    *,
    trailer: bytes | None = None,
    append_id: str | None = None,
    commit_asked: bool = False,
) -> CoverlineError:
    """The exception for an error that pyarrow raised.

    Args:
        error: what pyarrow raised.
        trailer: the serialized google.rpc.Status that the call ended with. pyarrow exposes it by itself only for some errors.
        append_id: of the append that it happened in.
        commit_asked: an append, or a statement, was on its way: without a word from the server, it may have been committed.
    """
    status = _status(trailer) or _status(getattr(error, "extra_info", None))
    if status is not None and status.info is not None:
        info = status.info
        kind = _BY_REASON.get(info.reason) or _BY_CODE.get(status.code, CoverlineError)
        if info.reason == "QUERY" and status.code == _NOT_FOUND:
            # A query that names a missing table: create it, as for any other call.
            kind = NotFoundError
        if info.metadata.get("committed") == "unknown":
            kind = UnknownOutcomeError
        result = kind(status.message, reason=info.reason, details=info.metadata)
    else:
        message = status.message if status is not None and status.message else _message(error)
        kind = _kind(error) if status is None else _BY_CODE.get(status.code, CoverlineError)
        if commit_asked and issubclass(kind, _AMBIGUOUS) and _NEVER_SENT not in message:
            kind = UnknownOutcomeError
            message = f"it may or may not be committed, the acknowledgement was lost: {message}"
        result = kind(message)
    if isinstance(result, UnknownOutcomeError):
        result.append_id = append_id
    return result


def _status(raw: bytes | None) -> _wire.RpcStatus | None:
    if not raw:
        return None
    try:
        return _wire.decode_status(bytes(raw))
    except _wire.WireError:
        return None


def _kind(error: BaseException) -> type[CoverlineError]:
    text = str(error).lower()
    for words, kind in _BY_TEXT:
        if words in text:
            return kind
    for source, kind in _BY_CLASS:
        if isinstance(error, source):
            return kind
    return InternalError


def _message(error: BaseException) -> str:
    text = _NOISE.sub("", str(error))
    return _PREFIX.sub("", text) or type(error).__name__


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
