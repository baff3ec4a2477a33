"""SQLAlchemy dialect: `create_engine("coverline://HOST:PORT")`, over the ADBC Flight SQL driver.

For tools that look at a database before they ask it, such as Superset: schemas, tables, and columns with their types. Every statement
commits by itself. A table that is made through SQLAlchemy is a time-series table when it says so::

    Table("prices", metadata, Column("ts", DateTime(timezone=True), nullable=False), Column("symbol", Text, nullable=False),
          Column("close", Double), coverline_index_column="ts", coverline_bucket="1h", coverline_entity_columns="symbol")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import exc, schema
from sqlalchemy.engine import URL, Connection, default, interfaces, reflection

from ._dialect_sql import TABLE_OPTIONS, DDLCompiler, Preparer, SQLCompiler
from ._dialect_types import COLSPECS, TypeCompiler, sql_type

DEFAULT_PORT = 50051
_SCHEMA = "public"
_TRUE = {"1", "true", "yes", "on"}


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
    supports_multivalues_insert = True
    postfetch_lastrowid = False
    use_insertmanyvalues = False
    statement_compiler = SQLCompiler
    ddl_compiler = DDLCompiler
    preparer = Preparer
    type_compiler_cls = TypeCompiler
    colspecs = COLSPECS
    bind_typing = interfaces.BindTyping.RENDER_CASTS
    cte_follows_insert = True
    # SQLAlchemy 2.0 asks the dialect for them, and takes its own for None.
    _json_serializer = None
    _json_deserializer = None
    construct_arguments = [(schema.Table, dict.fromkeys(TABLE_OPTIONS))]

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
            {"name": column.name, "type": sql_type(column.type), "nullable": column.nullable, "default": None}
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
