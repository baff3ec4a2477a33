"""SQLAlchemy dialect: `create_engine("coverline://HOST:PORT")`, over the ADBC Flight SQL driver.

For tools that look at a database before they ask it, such as Superset: schemas, tables, and columns with their types. Every statement
commits by itself. A table that is made through SQLAlchemy is a time-series table when it says so::

    Table("prices", metadata, Column("ts", DateTime(timezone=True), nullable=False), Column("symbol", Text, nullable=False),
          Column("close", Double), coverline_index_column="ts", coverline_bucket="1h", coverline_entity_columns="symbol")
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import exc, schema, types
from sqlalchemy.engine import URL, Connection, default, reflection
from sqlalchemy.sql import compiler

DEFAULT_PORT = 50051
_SCHEMA = "public"
# A statement that does nothing.
_NOTHING = "SELECT 1 WHERE FALSE"
_TABLE_OPTIONS = ("index_column", "bucket", "entity_columns", "time_zone")
# Most bits of precision that a REAL keeps.
_REAL_BITS = 24
# Words that SQLAlchemy leaves unquoted and the parser takes for its own.
_WORDS = {"exists", "fulltext", "index", "interval", "key", "spatial", "struct", "top", "trim"}
_TRUE = {"1", "true", "yes", "on"}

_SQL_TYPES: list[tuple[Callable[[pa.DataType], bool], Callable[[Any], types.TypeEngine[Any]]]] = [
    (pa.types.is_boolean, lambda _: types.Boolean()),
    (pa.types.is_int8, lambda _: types.SmallInteger()),
    (pa.types.is_int16, lambda _: types.SmallInteger()),
    (pa.types.is_int32, lambda _: types.Integer()),
    (pa.types.is_integer, lambda _: types.BigInteger()),
    (pa.types.is_float32, lambda _: types.REAL()),
    (pa.types.is_floating, lambda _: types.Double()),
    (pa.types.is_decimal, lambda kind: types.Numeric(kind.precision, kind.scale)),
    (pa.types.is_string, lambda _: types.Text()),
    (pa.types.is_large_string, lambda _: types.Text()),
    (pa.types.is_binary, lambda _: types.LargeBinary()),
    (pa.types.is_timestamp, lambda kind: types.DateTime(timezone=kind.tz is not None)),
    (pa.types.is_date, lambda _: types.Date()),
    (pa.types.is_time, lambda _: types.Time()),
    (pa.types.is_duration, lambda _: types.Interval()),
]


def _sql_type(kind: pa.DataType) -> types.TypeEngine[Any]:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return types.ARRAY(_sql_type(kind.value_type))
    for is_it, make in _SQL_TYPES:
        if is_it(kind):
            return make(kind)
    # Structs and maps, of which SQLAlchemy knows nothing: values come as the driver gives them.
    return types.NullType()


class _Bytes(types.LargeBinary):
    """Bytes as they are: the driver has no constructor for them, which SQLAlchemy would call."""

    cache_ok = True

    def bind_processor(self, dialect: Any) -> None:
        return None


class _Numeric(types.Numeric[Any]):
    """Values of one type in every row, which Arrow insists on."""

    def bind_processor(self, dialect: Any) -> Callable[[Any], Any]:
        return lambda value: decimal.Decimal(str(value)) if isinstance(value, float) else value


class _Float(types.Float[Any]):
    """The same for floating point, where some rows may come as decimals."""

    def bind_processor(self, dialect: Any) -> Callable[[Any], Any]:
        return lambda value: None if value is None else float(value)


class _TypeCompiler(compiler.GenericTypeCompiler):
    def visit_double(self, type_: Any, **kw: Any) -> str:
        return "DOUBLE"

    def visit_float(self, type_: Any, **kw: Any) -> str:
        # FLOAT has 32 bits, and what Python and pandas call a float has 64.
        return "REAL" if type_.precision is not None and type_.precision <= _REAL_BITS else "DOUBLE"

    def visit_FLOAT(self, type_: Any, **kw: Any) -> str:
        return self.visit_float(type_, **kw)

    def visit_string(self, type_: Any, **kw: Any) -> str:
        return "TEXT"

    visit_unicode = visit_unicode_text = visit_text = visit_VARCHAR = visit_NVARCHAR = visit_string

    def visit_large_binary(self, type_: Any, **kw: Any) -> str:
        return "VARBINARY"

    def visit_datetime(self, type_: Any, **kw: Any) -> str:
        return "TIMESTAMP(6) WITH TIME ZONE" if type_.timezone else "TIMESTAMP(6)"

    visit_TIMESTAMP = visit_DATETIME = visit_datetime


class _DDLCompiler(compiler.DDLCompiler):
    def create_table_constraints(self, table: schema.Table, *_: Any, **kw: Any) -> str:
        # There are none but NOT NULL. SQLAlchemy's own idea of a key stays on its side.
        return ""

    def get_column_specification(self, column: schema.Column[Any], **kw: Any) -> str:
        kind = self.dialect.type_compiler_instance.process(column.type, type_expression=column)
        return f"{self.preparer.format_column(column)} {kind}{'' if column.nullable else ' NOT NULL'}"

    def visit_create_index(self, create: Any, *_: Any, **kw: Any) -> str:
        # As with keys: there are none, segments are found by entity and index column. Tools make tables and indexes in one go.
        return _NOTHING

    def visit_drop_index(self, drop: Any, **kw: Any) -> str:
        return _NOTHING

    def post_create_table(self, table: schema.Table) -> str:
        given = table.dialect_options["coverline"]
        pairs = [(name, given[name]) for name in _TABLE_OPTIONS if given[name] is not None]
        quoted = (f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'" for name, value in pairs)
        return f" WITH ({', '.join(quoted)})" if pairs else ""


class _SQLCompiler(compiler.SQLCompiler):
    def limit_clause(self, select: Any, **kw: Any) -> str:
        parts = (("LIMIT", select._limit_clause), ("OFFSET", select._offset_clause))
        return "".join(f"\n {word} {self._bound(select, clause, **kw)}" for word, clause in parts if clause is not None)

    def _bound(self, select: Any, clause: Any, **kw: Any) -> str:
        # A plan with its numbers in it is better than one that waits for them.
        if select._simple_int_clause(clause):
            kw["literal_execute"] = True
        return self.process(clause, **kw)

    def visit_frame_clause(self, frameclause: Any, **kw: Any) -> str:
        # The engine wants to know the frame when it plans.
        kw["literal_execute"] = True
        text: str = super().visit_frame_clause(frameclause, **kw)  # type: ignore[no-untyped-call]
        return text

    def visit_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{self.process(binary.left, **kw)} LIKE {self._pattern(binary, **kw)}"

    def visit_not_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{self.process(binary.left, **kw)} NOT LIKE {self._pattern(binary, **kw)}"

    def _pattern(self, binary: Any, **kw: Any) -> str:
        """The pattern with the backslash for what escapes in it, the only one there is. SQLAlchemy's ``autoescape`` takes the slash."""
        pattern = self.process(binary.right, **kw)
        escape = binary.modifiers.get("escape")
        if escape is None or escape == "\\":
            return pattern
        if len(escape) != 1 or escape in "%_":
            raise exc.CompileError(f"LIKE cannot escape with {escape!r}; take one character other than % and _")
        # One that escapes itself stays one, out of the way meanwhile.
        aside = "chr(1)"
        one, two = (self.render_literal_value(text, types.STRINGTYPE) for text in (escape, escape * 2))
        doubled = f"replace({pattern}, '\\', '\\\\')"
        return f"replace(replace(replace({doubled}, {two}, {aside}), {one}, '\\'), {aside}, {one})"


class _Preparer(compiler.IdentifierPreparer):
    reserved_words = compiler.RESERVED_WORDS | _WORDS


class CoverlineDialect(default.DefaultDialect):
    """What SQLAlchemy has to know."""

    name = "coverline"
    driver = "adbc"
    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_sane_rowcount = False
    supports_sane_multi_rowcount = False
    supports_default_values = False
    supports_alter = False
    supports_comments = False
    supports_sequences = False
    postfetch_lastrowid = False
    use_insertmanyvalues = False
    statement_compiler = _SQLCompiler
    ddl_compiler = _DDLCompiler
    preparer = _Preparer
    type_compiler_cls = _TypeCompiler
    colspecs = {
        types.LargeBinary: _Bytes,
        types.BINARY: _Bytes,
        types.VARBINARY: _Bytes,
        types.Float: _Float,
        types.Numeric: _Numeric,
    }
    construct_arguments = [(schema.Table, dict.fromkeys(_TABLE_OPTIONS))]

    @classmethod
    def import_dbapi(cls) -> Any:
        """The DB-API module of the ADBC driver."""
        import adbc_driver_flightsql.dbapi

        return adbc_driver_flightsql.dbapi

    def create_connect_args(self, url: URL) -> tuple[Sequence[Any], dict[str, Any]]:
        """Arguments of the driver.

        In the URL's query, ``tls=true`` encrypts, ``tls_root_certs=FILE`` says what to trust, and ``cert_chain=FILE`` and
        ``private_key=FILE`` what to show to a server that asks for a certificate.
        """
        from adbc_driver_flightsql import DatabaseOptions

        options = {name: str(value) for name, value in url.query.items()}
        scheme = "grpc+tls" if options.pop("tls", "false").lower() in _TRUE else "grpc"
        database: dict[str, str] = {}
        for name, option in (
            ("tls_root_certs", DatabaseOptions.TLS_ROOT_CERTS),
            ("cert_chain", DatabaseOptions.MTLS_CERT_CHAIN),
            ("private_key", DatabaseOptions.MTLS_PRIVATE_KEY),
        ):
            if path := options.pop(name, None):
                with open(path, encoding="ascii") as file:
                    database[option.value] = file.read()
        if url.username is not None:
            database["username"] = url.username
            database["password"] = url.password or ""
        if options:
            raise exc.ArgumentError(f"{', '.join(sorted(options))} in the URL means nothing; tls, tls_root_certs, cert_chain and private_key do")
        address = f"{scheme}://{url.host or '127.0.0.1'}:{url.port or DEFAULT_PORT}"
        return [address], {"db_kwargs": database, "autocommit": True}

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Nothing: every statement has committed."""

    def do_commit(self, dbapi_connection: Any) -> None:
        """Nothing: every statement has committed."""

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Whether the server answers."""
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        return True

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether an error means that the connection is gone."""
        return isinstance(e, self.loaded_dbapi.OperationalError) and "UNAVAILABLE" in str(e).upper()

    def _get_default_schema_name(self, connection: Connection) -> str:
        return _SCHEMA

    def _rows(self, connection: Connection, sql: str, *values: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.exec_driver_sql(sql, values).fetchall()]

    @reflection.cache
    def get_schema_names(self, connection: Connection, **kw: Any) -> list[str]:
        """The schemas."""
        sql = "SELECT schema_name FROM information_schema.schemata ORDER BY schema_name"
        return [name for (name,) in self._rows(connection, sql)]

    @reflection.cache
    def get_table_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """The tables of a schema."""
        sql = (
            "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema = ? ORDER BY table_name"
        )
        return [name for (name,) in self._rows(connection, sql, schema or _SCHEMA)]

    @reflection.cache
    def has_table(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> bool:
        """Whether there is such a table."""
        sql = "SELECT 1 FROM information_schema.tables WHERE table_name = ? AND table_schema = ?"
        return bool(self._rows(connection, sql, table_name, schema or _SCHEMA))

    @reflection.cache
    def get_columns(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        """The columns of a table, with their types."""
        if not self.has_table(connection, table_name, schema):
            raise exc.NoSuchTableError(table_name)
        driver: Any = connection.connection.dbapi_connection
        with driver.cursor() as cursor:
            quoted = self.identifier_preparer.quote_identifier(table_name)
            columns = cursor.adbc_execute_schema(f"SELECT * FROM {quoted}")
        return [
            {"name": column.name, "type": _sql_type(column.type), "nullable": column.nullable, "default": None}
            for column in columns
        ]

    def get_view_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """None: there are no views."""
        return []

    def get_pk_constraint(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None: an append may bring rows that agree in index and entity."""
        return {"constrained_columns": [], "name": None}

    def get_foreign_keys(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        """None."""
        return []

    def get_indexes(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        """None that SQL could name."""
        return []

    def get_unique_constraints(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        """None."""
        return []

    def get_check_constraints(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        """None."""
        return []

    def get_table_comment(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None."""
        return {"text": None}
