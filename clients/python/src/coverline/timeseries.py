"""`TimeSeriesTable` and `Session`: tables of a local folder, or of a server, in the style of an in-process library.

A script written for such a library runs with its import line changed. `table_root` is a folder, which then holds one table and is
served by a `coverline` process of this one (see `_embedded`), or ``grpc://HOST:PORT/TABLE``. Argument names of several generations
are accepted: ``time_column`` and ``index_column``, ``bucket`` and ``index_granularity``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from . import _embedded, _sql
from .client import Client, OnOverlap, Params, Receipt, Table, connect
from .errors import CoverlineError, InvalidInputError, NotFoundError, NotSupportedError

_SERVER_SCHEMES = ("grpc", "grpc+tcp", "grpc+tls")

EMBEDDED_TABLE = "data"
"""Name of the one table of a local folder."""


class _Place:
    """Where a `table_root` leads: a connection, a table name, and what has to be kept alive for it."""

    def __init__(self, table_root: str | os.PathLike[str], *, create: bool = False) -> None:
        self.root = os.fspath(table_root)
        self.lease: _embedded.Lease | None = None
        self._client: Client | None = None
        if "://" in self.root:
            address, self.table = _split(self.root)
            self.key = address
            self._client = connect(address)
        else:
            if not create:
                _embedded.require_folder(self.root)
            self.table = EMBEDDED_TABLE
            self.lease = _embedded.Lease(self.root)
            self.key = self.lease.root

    @property
    def client(self) -> Client:
        if self.lease is not None:
            return self.lease.client
        assert self._client is not None
        return self._client

    def close(self) -> None:
        if self.lease is not None:
            self.lease.close()
        elif self._client is not None:
            self._client.close()


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if parts.scheme.lower() not in _SERVER_SCHEMES:
        raise InvalidInputError(
            f'"{url}" is neither a local folder nor grpc://HOST:PORT/TABLE, and these are what table_root can be; tables in an '
            "object store such as S3 go through `coverline serve --root s3://BUCKET/PREFIX`"
        )
    table = unquote(parts.path.lstrip("/"))
    if not parts.netloc or not table or parts.query or parts.fragment:
        raise InvalidInputError(f'"{url}" names no table; write grpc://HOST:PORT/TABLE')
    return f"{parts.scheme}://{parts.netloc}", table


class TimeSeriesTable:
    """A table by its place. Made by `create` and `open`; a context manager that closes it."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._spec: dict[str, object] | None = None

    @classmethod
    def create(
        cls,
        *,
        table_root: str | os.PathLike[str],
        time_column: str | None = None,
        bucket: str | int | None = None,
        entity_columns: Sequence[str] | None = None,
        timezone: str | None = None,
        index_column: str | None = None,
        index_type: Literal["timestamp", "int64", "uint64"] | None = None,
        index_granularity: str | int | None = None,
    ) -> TimeSeriesTable:
        """Creates a table. Its schema comes with the first append.

        Args:
            table_root: folder, made when it is not there, or ``grpc://HOST:PORT/TABLE``.
            time_column: name of the index column. Also ``index_column``.
            bucket: width of a bucket: ``"1h"``, ``"15m"``, ``"1d"``, or a number for integer indexes. Also
                ``index_granularity``.
            entity_columns: columns whose values, in this order, name an entity.
            timezone: IANA zone that calendar buckets follow; UTC by default.
            index_type: ``"timestamp"``, ``"int64"`` or ``"uint64"``: checked against the bucket; the first append decides.

        Raises:
            AlreadyExistsError: when there is a table.
            InvalidInputError: when the arguments make no sense together.
        """
        column = _one("time_column", time_column, "index_column", index_column)
        width = _one("bucket", bucket, "index_granularity", index_granularity)
        if isinstance(width, bool) or not isinstance(width, str | int):
            raise InvalidInputError(f"bucket must be a text such as \"1h\" or a number, not {width!r}")
        if index_type not in (None, "timestamp", "int64", "uint64"):
            raise InvalidInputError(
                f'index_type must be "timestamp", "int64" or "uint64", not "{index_type}"'
            )
        if index_type is not None and (index_type == "timestamp") == isinstance(width, int):
            raise InvalidInputError(
                f'bucket {width!r} does not go with index_type "{index_type}"; timestamps take a text such as "1h", '
                "integers a number"
            )
        place = _Place(table_root, create=True)
        try:
            place.client.create_table(
                place.table,
                index_column=str(column),
                bucket=width,
                entity_columns=tuple(entity_columns or ()),
                time_zone=timezone,
            )
        except CoverlineError as error:
            error.table_root = place.root
            place.close()
            raise
        return cls(place)

    @classmethod
    def open(cls, table_root: str | os.PathLike[str]) -> TimeSeriesTable:
        """Opens a table.

        Raises:
            NotFoundError: when there is none.
        """
        try:
            place = _Place(table_root)
        except CoverlineError as error:
            error.table_root = os.fspath(table_root)
            raise
        table = cls(place)
        try:
            if place.table not in place.client.tables():
                raise NotFoundError(
                    f'there is no table "{place.table}" at "{place.root}"; create it with TimeSeriesTable.create'
                )
        except CoverlineError as error:
            error.table_root = place.root
            place.close()
            raise
        return table

    @property
    def table(self) -> Table:
        """The same table with the whole interface of `Table`."""
        return self._place.client.table(self._place.table)

    def append_parquet(
        self,
        parquet_path: str | os.PathLike[str],
        time_column: str | None = None,
        copy_if_outside: bool = True,
        *,
        on_overlap: OnOverlap = "reject",
        append_id: str | None = None,
    ) -> int:
        """Appends a Parquet file: all its rows as one version, or none.

        Args:
            parquet_path: the file. Its rows are copied into the table; the file itself is not needed afterwards.
            time_column: accepted for the sake of old scripts; the file must have the table's own index column.
            copy_if_outside: accepted for the sake of old scripts; rows are always copied.
            on_overlap: see `coverline.client.OnOverlap`.
            append_id: see `Table.append`.

        Returns:
            the table's version that holds the rows.

        Raises:
            CoverageOverlapError: when rows are there already; nothing was committed.
        """
        try:
            return self.table.append_parquet(parquet_path, on_overlap, append_id).version
        except CoverlineError as error:
            error.table_root = self._place.root
            raise

    def append(
        self,
        source: Any,
        *,
        on_overlap: OnOverlap = "reject",
        append_id: str | None = None,
        retries: int = 0,
        compression: str | None = None,
        max_rows_per_row_group: int | None = None,
        max_bytes_per_row_group: int | None = None,
    ) -> Receipt:
        """Appends Arrow data. See `Table.append`; the last three arguments are accepted for the sake of old scripts, the server
        lays out its files itself."""
        try:
            return self.table.append(source, on_overlap, append_id, retries=retries)
        except CoverlineError as error:
            error.table_root = self._place.root
            raise

    def root(self) -> str:
        """The `table_root` that it was made with."""
        return self._place.root

    def version(self) -> int:
        """Number of the last commit."""
        return self.table.version

    def index_spec(self) -> dict[str, object]:
        """What it was created with: ``index_column``, ``bucket``, ``entity_columns``, ``timezone``, and the same by older and newer
        names."""
        for table in self._place.client._list():
            if table["name"] == self._place.table:
                return {
                    "index_column": table.get("index_column"),
                    "timestamp_column": table.get("index_column"),
                    "bucket": table.get("bucket"),
                    "index_granularity": table.get("bucket"),
                    "entity_columns": table.get("entity_columns") or [],
                    "timezone": table.get("time_zone"),
                }
        raise NotFoundError(f'there is no table "{self._place.table}" at "{self._place.root}"')

    def close(self) -> None:
        """Lets go of it. A server in this process stops when nobody uses its folder any more."""
        self._place.close()

    def __enter__(self) -> TimeSeriesTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<coverline.TimeSeriesTable {self._place.root!r}>"


class Session:
    """SQL over tables that are registered under names."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def register_tstable(self, name: str, table_root: str | os.PathLike[str]) -> None:
        """Makes a table known under a name; a table that had it before is let go.

        Args:
            name: as queries write it. A name with capitals has to be quoted there.
            table_root: folder, or ``grpc://HOST:PORT/TABLE``.

        Raises:
            NotFoundError: when there is no such table.
        """
        if not name:
            raise ValueError("name must not be empty")
        # Opening checks that the table is there; the place outlives the handle.
        place = TimeSeriesTable.open(table_root)._place
        before = self._places.get(name)
        self._places[name] = place
        if before is not None:
            before.close()

    def deregister(self, name: str) -> None:
        """Forgets a name.

        Raises:
            KeyError: when it is not registered.
        """
        if not name:
            raise ValueError("name must not be empty")
        if name not in self._places:
            raise KeyError(f'table "{name}" is not registered')
        self._places.pop(name).close()

    def tables(self) -> list[str]:
        """Registered names, sorted."""
        return sorted(self._places)

    def register_parquet(self, name: str, path: str) -> None:
        """Not supported: a server reads its own tables only.

        Raises:
            NotSupportedError
        """
        raise NotSupportedError(
            f'cannot register the Parquet file "{path}": a server reads its own tables only; append the file to a table with '
            "Client.create_table and Table.append_parquet"
        )

    def sql(self, query: str, *, params: Params | None = None) -> pa.Table:
        """Runs a query and returns all its rows.

        Args:
            query: SQL text of one statement.
            params: a sequence for ``$1``, ``$2``; a mapping for ``$name``.

        Raises:
            QueryError: when the SQL is wrong.
            NotSupportedError: when it joins tables of several folders or servers.
        """
        return self.sql_reader(query, params=params).read_all()

    def sql_reader(self, query: str, *, params: Params | None = None) -> pa.RecordBatchReader:
        """Runs a query and returns its rows as they come. See `sql`."""
        used = self._used(query)
        if not used:
            return self._anywhere().sql_reader(query, params)
        servers = {place.key for place in used.values()}
        if len(servers) > 1:
            places = ", ".join(f'"{name}" is at {place.root}' for name, place in used.items())
            raise NotSupportedError(
                f"one query cannot read tables of several folders or servers ({places}); keep tables that are joined in one "
                "server, as grpc://HOST:PORT/TABLE"
            )
        renamed = {name: place.table for name, place in used.items() if name != place.table}
        if renamed:
            try:
                query = _sql.with_tables(query, renamed)
            except ValueError as error:
                raise InvalidInputError(f"cannot run this statement here: {error}") from None
        return next(iter(used.values())).client.sql_reader(query, params)

    def _used(self, query: str) -> dict[str, _Place]:
        """The registered tables that a query names."""
        names = _sql.names_in(query)
        return {name: place for name, place in self._places.items() if name in names}

    def _anywhere(self) -> Client:
        """A server for a query that reads no table."""
        for place in self._places.values():
            return place.client
        raise NotFoundError(
            "no table is registered, so there is no server to ask; call register_tstable first"
        )

    def close(self) -> None:
        """Forgets all tables."""
        for place in self._places.values():
            place.close()
        self._places.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _one(first: str, value: object, second: str, other: object) -> object:
    """The value that was given under one of two names."""
    if value is not None and other is not None:
        raise InvalidInputError(f"give {first} or {second}, not both")
    if value is None and other is None:
        raise TypeError(f"create() needs {first} (or {second})")
    return value if value is not None else other
