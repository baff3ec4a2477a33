"""`connect`, `Client` and `Table`: a Coverline server from Python."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa

from . import _flight, _retry, _sources, _sql, _wire
from .errors import InvalidInputError

OnOverlap = Literal["reject", "skip"]
"""What an append does with rows whose (entity, bucket) another append owns: refuse it all, or leave those rows out."""

MinVersion = int | Mapping[str, int]
"""The least version that a query may see, such as `Receipt.version` of an append that another server of the same root
answered: a number for a query of one table, or a mapping from tables to versions."""

Params = Sequence[object] | Mapping[str, object]
"""Values for placeholders: a sequence for ``$1``, ``$2`` or ``?``, a mapping for ``$name``."""


@dataclass(frozen=True)
class Receipt:
    """What a committed append gets back.

    Attributes:
        table: name of the table.
        version: version that holds the rows; when nothing was written, the version that the table has.
        row_count: rows written.
        rows_skipped: rows left out by ``on_overlap="skip"``.
        buckets_covered: (entity, bucket) pairs newly covered.
        segment_count: segments written; 0 when the rows are so few that the commit record holds them.
        repeated: the append id was known: this is the receipt of the first try, and nothing new was written.
    """

    table: str
    version: int
    row_count: int
    rows_skipped: int
    buckets_covered: int
    segment_count: int
    repeated: bool

    @property
    def committed_version(self) -> int:
        """Same as `version`, by the name that other libraries use."""
        return self.version


def connect(
    url: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    tls_root_certs: bytes | None = None,
    cert_chain: bytes | None = None,
    private_key: bytes | None = None,
) -> Client:
    """Connects to a server.

    Args:
        url: ``grpc://HOST:PORT``, or ``grpc+tls://HOST:PORT``.
        token: bearer token, for servers that ask for one.
        headers: gRPC headers of every call.
        tls_root_certs: PEM certificates to trust instead of the system's.
        cert_chain: PEM certificate to show to a server that asks for one, with those between it and its authority.
        private_key: PEM key of that certificate.

    Raises:
        UnavailableError: when nobody answers there, or who answers wants a certificate.
        ValueError: when the URL makes no sense, or of a certificate and its key only one is given.
    """
    if (cert_chain is None) != (private_key is None):
        raise ValueError("cert_chain and private_key belong together: give both, or none")
    given = {"tls_root_certs": tls_root_certs, "cert_chain": cert_chain, "private_key": private_key}
    tls = {name: pem for name, pem in given.items() if pem is not None}
    all_headers = dict(headers or {})
    if token is not None:
        all_headers["authorization"] = f"Bearer {token}"
    connection = _flight.Connection(url, all_headers, tls)
    try:
        connection.ping()
    except BaseException:
        connection.close()
        raise
    return Client(connection, all_headers, tls)


class Client:
    """A connection to a server, made by `connect`. Threads may share it. A context manager that closes it."""

    def __init__(
        self,
        connection: _flight.Connection,
        headers: Mapping[str, str] | None = None,
        tls: Mapping[str, bytes] | None = None,
    ) -> None:
        self._connection = connection
        self._headers = dict(headers or {})
        self._tls = dict(tls or {})

    @property
    def url(self) -> str:
        """Address that it is connected to."""
        return self._connection.url

    def create_table(
        self,
        name: str,
        *,
        index_column: str | None = None,
        bucket: str | int | None = None,
        entity_columns: Sequence[str] = (),
        time_zone: str | None = None,
        schema: pa.Schema | None = None,
        if_not_exists: bool = False,
    ) -> Table:
        """Creates a table.

        Args:
            name: 1 to 255 bytes, without ``/`` and ``\\``.
            index_column: the ordered column, of timestamps or 64-bit integers. Without one, a plain table is created: it has no
                coverage and its appends never overlap.
            bucket: width of a bucket: ``"1h"``, ``"15m"``, ``"1ms"``, ``"1d"``, ``"1mo"``, or a number for integer indexes.
            entity_columns: columns whose values, in this order, name an entity.
            time_zone: IANA zone that ``1d``, ``1w``, ``1mo`` and ``1y`` follow; UTC by default.
            schema: Arrow schema; without one, the first append brings it.
            if_not_exists: return the table when there is one of that name that was created with the same index, bucket, entity
                columns and zone.

        Raises:
            AlreadyExistsError: when there is a table of that name.
            PreconditionError: when `if_not_exists` meets a table that was created otherwise.
            InvalidInputError: when the name, the bucket or the zone makes no sense.
        """
        body: dict[str, object] = {
            "name": name,
            "index_column": index_column,
            "bucket": None if bucket is None else str(bucket),
            "entity_columns": [entity_columns]
            if isinstance(entity_columns, str)
            else list(entity_columns),
            "time_zone": time_zone,
            "if_not_exists": if_not_exists,
        }
        if schema is not None:
            # The very types of Arrow, which SQL cannot all name.
            body["schema_ipc"] = base64.b64encode(schema.serialize()).decode()
        self._connection.action("coverline.CreateTable", body)
        return Table(self, name)

    def drop_table(self, name: str, *, if_exists: bool = False) -> None:
        """Drops a table and its rows.

        Raises:
            NotFoundError: when there is none, unless `if_exists`.
        """
        self._connection.action("coverline.DropTable", {"table": name, "if_exists": if_exists})

    def tables(self) -> list[str]:
        """Names of all tables, sorted."""
        return sorted(table["name"] for table in self._list())

    def _list(self) -> list[dict[str, Any]]:
        return self._connection.action("coverline.ListTables", {}, changes=False)

    def table(self, name: str) -> Table:
        """A handle on the table of that name. Whether there is one shows when it is used."""
        return Table(self, name)

    def sql(
        self,
        query: str,
        params: Params | None = None,
        *,
        min_version: MinVersion | None = None,
    ) -> pa.Table:
        """Runs a query and returns all its rows.

        Args:
            query: SQL text of one statement.
            params: see `Params`.
            min_version: see `MinVersion`.

        Raises:
            QueryError: when the SQL is wrong.
            NotFoundError: when it names a table that is not there.
            UnknownOutcomeError: when the connection broke under a statement that changes something.
            UnavailableError: when the server does not come up to `min_version` within some seconds.
        """
        return self.sql_reader(query, params, min_version=min_version).read_all()

    def sql_reader(
        self,
        query: str,
        params: Params | None = None,
        *,
        min_version: MinVersion | None = None,
    ) -> pa.RecordBatchReader:
        """Runs a query and returns its rows as they come; the server waits when they are read slowly.

        All of them are of one version of each table, whatever is appended meanwhile. For the arguments see `sql`.
        """
        if min_version is not None and not min_version:
            min_version = None
        if isinstance(params, Mapping):
            try:
                query, values = _sql.bind_names(query, params)
            except ValueError as error:
                raise InvalidInputError(str(error)) from None
            return self._connection.query(query, values, min_version)
        if isinstance(params, str | bytes):
            raise InvalidInputError("params must be a sequence of values, not one text")
        return self._connection.query(query, params, min_version)

    def execute(self, statement: str) -> int:
        """Runs a statement that is no query: CREATE, DROP, INSERT.

        Returns:
            rows inserted; 0 or -1 for statements that insert none.
        """
        return self._connection.update(statement)

    def dbapi(self) -> Any:
        """A new DB-API connection to the same server over ADBC, for what wants one: ``polars.read_database``, ``pandas.read_sql``.

        It belongs to the caller, who closes it.
        """
        from adbc_driver_flightsql import DatabaseOptions, dbapi

        options = {
            f"{DatabaseOptions.RPC_CALL_HEADER_PREFIX.value}{key}": value
            for key, value in self._headers.items()
            if key != "authorization"
        }
        if "authorization" in self._headers:
            options[DatabaseOptions.AUTHORIZATION_HEADER.value] = self._headers["authorization"]
        names = {
            "tls_root_certs": DatabaseOptions.TLS_ROOT_CERTS,
            "cert_chain": DatabaseOptions.MTLS_CERT_CHAIN,
            "private_key": DatabaseOptions.MTLS_PRIVATE_KEY,
        }
        options |= {names[name].value: pem.decode() for name, pem in self._tls.items()}
        return dbapi.connect(self.url, db_kwargs=options, autocommit=True)

    def close(self) -> None:
        """Closes the connection. Readers that it gave out end."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<coverline.Client {self.url}>"


class Table:
    """A table of a server, made by `Client.table`. Holds nothing but its name; threads may share it."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    def append(
        self,
        source: Any,
        on_overlap: OnOverlap = "reject",
        append_id: str | None = None,
        *,
        retries: int = 0,
    ) -> Receipt:
        """Appends rows: all of them as one version, or none.

        Memory stays bounded however long the source is: rows are sent in batches of at most 64 Ki, and the server's pace is
        followed. Columns go by name; types need only fit without loss.

        Args:
            source: pyarrow Table, RecordBatch or RecordBatchReader, Polars or pandas DataFrame, DuckDB relation, or anything with
                ``__arrow_c_stream__`` or ``__arrow_c_array__``. A named pandas index counts as a column.
            on_overlap: see `OnOverlap`.
            append_id: a key of your choice that makes a repetition harmless: it gets the first receipt. The same key with other
                rows is refused. The table keeps it for at least 7 days and 100,000 commits, as long as these bring no more than
                a million keys; at most 480 bytes.
            retries: how often to try again after an error that another try may not meet: a conflict, a server that cannot take
                it now, and, with an `append_id`, a lost acknowledgement. Waits 0.2 s, then twice as long each time, at most 5 s.
                The source must be one that can be read again: no reader, and nothing else whose rows can be taken once.

        Raises:
            CoverageOverlapError: when another append owns a pair that this one touches.
            SchemaMismatchError: when the columns do not fit.
            NotFoundError: when there is no such table.
            PreconditionError: when `append_id` was used for other rows.
            ConflictError, UnavailableError: when it was not committed, and may be if it is tried again.
            UnknownOutcomeError: when the acknowledgement was lost; repeat it with the same `append_id`.
            TypeError: when the source holds no Arrow data, or cannot be read again and `retries` are asked for.
        """
        if on_overlap not in _wire.POLICIES:
            raise InvalidInputError(f'on_overlap must be "reject" or "skip", not "{on_overlap}"')
        if append_id == "":
            # Servers take an empty id for none.
            raise InvalidInputError("append_id must not be empty; leave it out to append without one")
        if retries > 0 and isinstance(source, pa.RecordBatchReader):
            raise TypeError(
                "a RecordBatchReader can be read only once, so its append cannot be tried again; pass a table, or retries=0"
            )

        rows = _sources.Rereader(source)

        def attempt() -> Receipt:
            receipt = self._client._connection.append(self.name, rows.read(), on_overlap, append_id)
            return Receipt(**receipt)  # type: ignore[arg-type]

        return _retry.append(attempt, retries, append_id)

    def append_parquet(
        self,
        path: str | os.PathLike[str],
        on_overlap: OnOverlap = "reject",
        append_id: str | None = None,
        *,
        retries: int = 0,
    ) -> Receipt:
        """Appends a Parquet file, read in batches. See `append`.

        Raises:
            FileNotFoundError: when there is no such file.
            InvalidInputError: when it is no Parquet file or damaged; nothing was committed.
        """
        name = os.fspath(path)
        try:
            return self.append(_sources.ParquetFile(name), on_overlap, append_id, retries=retries)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise InvalidInputError(f'cannot read the Parquet file "{name}": {error}') from error

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the rows, as queries return them.

        Raises:
            NotFoundError: when there is no such table.
        """
        return self._describe()[0]

    @property
    def version(self) -> int:
        """Number of the last commit; 0 before the first append.

        Raises:
            NotFoundError: when there is no such table.
        """
        return _wire.decode_ticket_version(self._describe()[1])

    def count(self) -> int:
        """Number of rows."""
        rows: int = self._client.sql(f"SELECT count(*) FROM {self._from}")[0][0].as_py()
        return rows

    def coverage(self, *, version: int | None = None, at: Any = None) -> pa.Table:
        """What is there, one row per run of covered buckets: entity columns, ``start``, ``end`` (exclusive), ``buckets``.

        Args:
            version: what was known at this version; the newest by default.
            at: what was known at this time, a datetime or RFC 3339 text, instead of a version.
        """
        return self._ask("coverage", version=version, at=at)

    def gaps(self, start: Any = None, end: Any = None, *, version: int | None = None, at: Any = None) -> pa.Table:
        """What is missing: entity columns, ``gap_start``, ``gap_end`` (exclusive), ``missing_buckets``.

        Args:
            start: where to look from, a datetime, date, RFC 3339 text, or number. Needs `end`.
            end: where to look to, exclusive. Without both, each entity is looked at between its first and last bucket.
            version: as in `coverage`.
            at: as in `coverage`.
        """
        if (start is None) != (end is None):
            raise InvalidInputError("gaps needs both start and end, or neither")
        bounds = () if start is None else (start, end)
        return self._ask("gaps", *bounds, version=version, at=at)

    def completeness(self, start: Any, end: Any, *, version: int | None = None, at: Any = None) -> pa.Table:
        """How much of a range each entity has: entity columns, ``expected``, ``present``, ``ratio``, ``complete_until``.

        Args:
            start: as in `gaps`.
            end: as in `gaps`.
            version: as in `coverage`.
            at: as in `coverage`.
        """
        return self._ask("completeness", start, end, version=version, at=at)

    def covers(self, start: Any, end: Any, *, version: int | None = None, at: Any = None) -> bool:
        """Whether every entity has every bucket of a range: may the report run? False for a table without rows."""
        answer: bool = self._ask("covers", start, end, version=version, at=at)[0][0].as_py()
        return answer

    def entities(self, *, version: int | None = None, at: Any = None) -> pa.Table:
        """Every entity: entity columns, ``first_bucket``, ``last_bucket``, ``buckets``, ``rows``."""
        return self._ask("entities", version=version, at=at)

    def history(self) -> pa.Table:
        """Every commit: ``version``, ``commit_time``, ``operation``, ``principal``, ``append_ids``, ``rows_added``, ``rows_removed``."""
        return self._ask("table_history")

    def _ask(self, function: str, *bounds: Any, version: int | None = None, at: Any = None) -> pa.Table:
        if version is not None and at is not None:
            raise InvalidInputError("name a version or a time, not both")
        arguments = [_sql.quote_string(self.name), *map(_sql.literal, bounds)]
        if version is not None:
            arguments.append(f"version => {int(version)}")
        if at is not None:
            arguments.append(f"timestamp => {_sql.literal(at)}")
        return self._client.sql(f"SELECT * FROM {function}({', '.join(arguments)})")

    @property
    def _from(self) -> str:
        return _sql.quote_identifier(self.name)

    def _describe(self) -> tuple[pa.Schema, bytes]:
        return self._client._connection.describe(f"SELECT * FROM {self._from}")

    def __repr__(self) -> str:
        return f"<coverline.Table {self.name!r} of {self._client.url}>"
