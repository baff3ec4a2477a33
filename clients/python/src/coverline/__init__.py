"""Coverline from Python.

`connect` talks to a server; `TimeSeriesTable` and `Session` work on a local folder or on a server in the style of an in-process
library. Errors are `CoverlineError` and its subclasses.
"""

from ._embedded import stop_all as stop_embedded_servers
from .client import Client, OnOverlap, Receipt, Table, connect
from .errors import (
    AlreadyExistsError,
    CancelledError,
    ConflictError,
    CorruptError,
    CoverageOverlapError,
    CoverlineError,
    ExhaustedError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    QueryError,
    SchemaMismatchError,
    UnavailableError,
    UnknownOutcomeError,
)
from .timeseries import Session, TimeSeriesTable

__version__ = "0.1.0"

# Names that scripts for an in-process table library catch.
TimeseriesTableError = CoverlineError
StorageError = CoverlineError
DataFusionError = QueryError
IndexIntervalOverlapError = CoverageOverlapError
AppendReport = Receipt

__all__ = [
    "AlreadyExistsError",
    "AppendReport",
    "CancelledError",
    "Client",
    "ConflictError",
    "CorruptError",
    "CoverageOverlapError",
    "CoverlineError",
    "DataFusionError",
    "ExhaustedError",
    "IndexIntervalOverlapError",
    "InternalError",
    "InvalidInputError",
    "NotFoundError",
    "NotSupportedError",
    "OnOverlap",
    "PermissionDeniedError",
    "PreconditionError",
    "QueryError",
    "Receipt",
    "SchemaMismatchError",
    "Session",
    "StorageError",
    "Table",
    "TimeSeriesTable",
    "TimeseriesTableError",
    "UnavailableError",
    "UnknownOutcomeError",
    "connect",
    "stop_embedded_servers",
]
