"""ADBC metadata: what BI tools and SQL editors build their trees from."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from adbc_driver_flightsql.dbapi import ProgrammingError


def tables_of(connection: Any, **filters: object) -> dict[str, list[str]]:
    """Column names by table, as get_objects tells them."""
    found = {}
    for catalog in connection.adbc_get_objects(**filters).read_all().to_pylist():
        for schema in catalog["catalog_db_schemas"] or []:
            for table in schema["db_schema_tables"] or []:
                found[table["table_name"]] = [column["column_name"] for column in table["table_columns"] or []]
    return found


def test_objects_are_listed_with_their_columns(connection: Any, loaded: str) -> None:
    assert tables_of(connection, depth="all")[loaded] == ["ts", "symbol", "close"]
    assert tables_of(connection, depth="tables")[loaded] == []


def test_objects_are_filtered(connection: Any, cursor: Any, loaded: str) -> None:
    # `_` matches any one character in a pattern; a table that only differs there must match both ways.
    other = loaded.replace("t_", "tx")
    cursor.execute(f"CREATE TABLE {other} WITH (index_column = 'ts', bucket = '1h')")
    assert set(tables_of(connection, table_name_filter=loaded)) == {loaded, other}
    assert set(tables_of(connection, table_name_filter=loaded.replace("_", r"\_"))) == {loaded}
    assert set(tables_of(connection, table_name_filter=loaded[:-1] + "%")) >= {loaded}
    assert tables_of(connection, table_name_filter="nowhere") == {}
    assert tables_of(connection, catalog_filter="nowhere") == {}
    assert tables_of(connection, db_schema_filter="nowhere") == {}
    assert loaded in tables_of(connection, catalog_filter="coverline", db_schema_filter="publ%")


@pytest.mark.parametrize("kind", ["TABLE", "BASE TABLE", "table"])
def test_table_types_mean_the_same_however_they_are_written(connection: Any, loaded: str, kind: str) -> None:
    assert loaded in tables_of(connection, table_types_filter=[kind])
    assert loaded not in tables_of(connection, table_types_filter=["VIEW"])


def test_catalogs_and_schemas(connection: Any, loaded: str) -> None:
    catalogs = connection.adbc_get_objects(depth="db_schemas").read_all().to_pylist()
    assert "coverline" in [catalog["catalog_name"] for catalog in catalogs]
    [ours] = [catalog for catalog in catalogs if catalog["catalog_name"] == "coverline"]
    assert "public" in [schema["db_schema_name"] for schema in ours["catalog_db_schemas"]]


def test_table_types_are_listed(connection: Any, loaded: str) -> None:
    assert connection.adbc_get_table_types()


def test_the_schema_of_a_table_is_that_of_its_rows(connection: Any, cursor: Any, loaded: str) -> None:
    schema = connection.adbc_get_table_schema(loaded)
    assert schema.names == ["ts", "symbol", "close"]
    assert schema.types == [pa.timestamp("us", "UTC"), pa.string(), pa.float64()]
    cursor.execute(f"SELECT * FROM {loaded}")
    rows = cursor.fetch_arrow_table().schema
    assert [(f.name, f.type, f.nullable) for f in rows] == [(f.name, f.type, f.nullable) for f in schema]
    with pytest.raises(ProgrammingError):
        connection.adbc_get_table_schema("nowhere")


def test_a_new_table_is_seen_and_a_dropped_one_gone(connection: Any, cursor: Any, name: str) -> None:
    assert name not in tables_of(connection)
    cursor.execute(f"CREATE TABLE {name} WITH (index_column = 'ts', bucket = '1h')")
    assert name in tables_of(connection)
    cursor.execute(f"DROP TABLE {name}")
    assert name not in tables_of(connection)


def test_the_information_schema_is_there(cursor: Any, loaded: str) -> None:
    cursor.execute(f"SELECT table_catalog, table_schema FROM information_schema.tables WHERE table_name = '{loaded}'")
    assert cursor.fetchall() == [("coverline", "public")]
    cursor.execute(
        f"SELECT column_name FROM information_schema.columns WHERE table_name = '{loaded}' ORDER BY ordinal_position"
    )
    assert cursor.fetchall() == [("ts",), ("symbol",), ("close",)]
    cursor.execute("SELECT schema_name FROM information_schema.schemata WHERE schema_name = 'public'")
    assert cursor.fetchall() == [("public",)]


def test_the_navigation_of_power_bi_comes_to_its_end(cursor: Any, loaded: str) -> None:
    """The queries of the connector, which asks for keys before it shows a table."""
    cursor.execute("SELECT schema_name FROM information_schema.schemata WHERE catalog_name = 'coverline'")
    assert ("public",) in cursor.fetchall()
    cursor.execute("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public'")
    assert (loaded, "BASE TABLE") in cursor.fetchall()
    cursor.execute(
        "SELECT column_name, ordinal_position, is_nullable, data_type FROM information_schema.columns "
        f"WHERE table_schema = 'public' AND table_name = '{loaded}' ORDER BY ordinal_position"
    )
    assert [row[0] for row in cursor.fetchall()] == ["ts", "symbol", "close"]
    keys = cursor.execute(
        "SELECT kcu.column_name, kcu.ordinal_position FROM information_schema.table_constraints tc "
        "JOIN information_schema.key_column_usage kcu ON tc.constraint_name = kcu.constraint_name "
        f"WHERE tc.constraint_type = 'PRIMARY KEY' AND tc.table_name = '{loaded}'"
    )
    assert keys.fetchall() == []
    # A table that is listed among the views, too, is shown twice.
    cursor.execute("SELECT table_name, definition FROM information_schema.views")
    assert cursor.fetchall() == []
    cursor.execute("SELECT unique_constraint_name, update_rule FROM information_schema.referential_constraints")
    assert cursor.fetchall() == []
    cursor.execute("SELECT table_name, column_name FROM information_schema.constraint_column_usage")
    assert cursor.fetchall() == []
    with pytest.raises(ProgrammingError, match="no_such_view"):
        cursor.execute("SELECT * FROM information_schema.no_such_view")


def test_statements_that_show_and_describe(cursor: Any, loaded: str) -> None:
    cursor.execute("SHOW TABLES")
    assert any(loaded in row for row in cursor.fetchall())
    cursor.execute(f"DESCRIBE {loaded}")
    assert [row[0] for row in cursor.fetchall()] == ["ts", "symbol", "close"]


def test_coverage_and_gaps_work_through_any_client(cursor: Any, loaded: str) -> None:
    cursor.execute(f"INSERT INTO {loaded} VALUES ('2025-03-02T05:00:00Z', 'NVDA', 1.0)")
    cursor.execute(f"SELECT * FROM gaps('{loaded}')")
    [gap] = cursor.fetch_arrow_table().to_pylist()
    assert (gap["symbol"], gap["missing_buckets"]) == ("NVDA", 5)
    cursor.execute(f"SELECT symbol, sum(buckets) FROM coverage('{loaded}') GROUP BY symbol ORDER BY symbol")
    assert [(symbol, int(buckets)) for symbol, buckets in cursor.fetchall()] == [("AAPL", 24), ("NVDA", 25)]
