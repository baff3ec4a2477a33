"""The SQLAlchemy dialect against a real server: what tools look at, and what programs do."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

import coverline
from conftest import Server
from data import DAY, SCHEMA, day_of


@pytest.fixture
def engine(server: Server) -> Iterator[sa.Engine]:
    engine = sa.create_engine(server.url.replace("grpc://", "coverline://"))
    yield engine
    engine.dispose()


def test_tables_and_columns_are_reflected(engine: sa.Engine, client: coverline.Client, prices: coverline.Table) -> None:
    prices.append(day_of(0))
    inspector = sa.inspect(engine)
    assert inspector.get_schema_names() == ["public"]
    assert inspector.default_schema_name == "public"
    assert prices.name in inspector.get_table_names()
    assert prices.name in inspector.get_table_names(schema="public")
    assert inspector.get_table_names(schema="other") == []
    assert inspector.get_view_names() == []
    assert inspector.has_table(prices.name) and not inspector.has_table("nowhere")
    columns = {column["name"]: column for column in inspector.get_columns(prices.name)}
    assert list(columns) == SCHEMA.names
    assert isinstance(columns["ts"]["type"], sa.DateTime) and columns["ts"]["type"].timezone
    assert isinstance(columns["symbol"]["type"], sa.Text)
    assert isinstance(columns["close"]["type"], sa.Double)
    assert [column["nullable"] for column in columns.values()] == [False, False, True]
    assert inspector.get_pk_constraint(prices.name)["constrained_columns"] == []
    assert inspector.get_foreign_keys(prices.name) == inspector.get_indexes(prices.name) == []
    with pytest.raises(sa.exc.NoSuchTableError):
        inspector.get_columns("nowhere")

    table = sa.Table(prices.name, sa.MetaData(), autoload_with=engine)
    noon = DAY + datetime.timedelta(hours=12)
    query = (
        sa.select(table.c.symbol, sa.func.count().label("n"), sa.func.max(table.c.close))
        .where(table.c.ts >= noon, table.c.symbol.in_(["NVDA", "none"]))
        .group_by(table.c.symbol)
        .order_by(table.c.symbol)
    )
    with engine.connect() as connection:
        assert connection.execute(query).all() == [("NVDA", 12, 123.0)]
        latest = sa.select(table.c.ts).order_by(table.c.ts.desc()).limit(2).offset(1)
        assert len(connection.execute(latest).all()) == 2
        assert len(pd.read_sql(sa.select(table), connection)) == 48


def test_tables_are_made_filled_and_dropped(engine: sa.Engine, client: coverline.Client, name: str) -> None:
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("ts", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("symbol", sa.String(20), nullable=False),
        sa.Column("close", sa.Double),
        sa.Column("amount", sa.Numeric(12, 2)),
        sa.Column("note", sa.Text),
        sa.Column("raw", sa.LargeBinary),
        coverline_index_column="ts",
        coverline_bucket="1h",
        coverline_entity_columns="symbol",
    )
    table.create(engine)
    rows = [
        {"ts": DAY, "symbol": "NVDA", "close": 1.5, "amount": decimal.Decimal("12.50"), "note": None, "raw": b"\x00\xff"},
        {"ts": DAY + datetime.timedelta(hours=1), "symbol": "NVDA", "close": None, "amount": None, "note": "it's", "raw": None},
    ]
    with engine.begin() as connection:
        connection.execute(table.insert(), rows)
        # Many rows are one append: one version.
        assert client.table(name).version == 2
        found = connection.execute(sa.select(table).order_by(table.c.ts)).mappings().all()
        assert [dict(row) for row in found] == rows
        of_bytes = sa.select(table.c.close).where(table.c.raw == sa.bindparam("raw", b"\x00\xff", sa.VARBINARY))
        assert connection.scalars(of_bytes).all() == [1.5]
        with pytest.raises(sa.exc.ProgrammingError, match="already holds rows"):
            connection.execute(table.insert(), rows[:1])
    with pytest.raises(coverline.CoverageOverlapError):
        client.table(name).append(day_of(0, hours=range(1), symbols=("NVDA",)).append_column("note", [["x"]]))
    table.drop(engine)
    assert name not in client.tables()
    table.drop(engine, checkfirst=True)


def test_patterns_limits_and_numbers_of_any_kind(engine: sa.Engine, name: str) -> None:
    table = sa.Table(
        name, sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("text", sa.Text), sa.Column("x", sa.Double), sa.Column("d", sa.Numeric(9, 3))
    )
    table.create(engine)
    texts = ["ab%c", "abxc", "a/b", "a\\b", "a_b", "AB%C"]
    with engine.begin() as connection:
        # Some rows as decimals, some as floats: one column of each all the same.
        numbers = [decimal.Decimal("1.125"), 2.5, 3, None, decimal.Decimal("5"), 6.25]
        connection.execute(table.insert(), [{"id": i, "text": text, "x": n, "d": n} for i, (text, n) in enumerate(zip(texts, numbers))])

        def ids(*conditions: sa.ColumnElement[bool]) -> list[int]:
            return list(connection.scalars(sa.select(table.c.id).where(*conditions).order_by(table.c.id)))

        text = table.c.text
        assert ids(text.contains("b%c", autoescape=True)) == [0]
        assert ids(text.icontains("B%", autoescape=True)) == [0, 5]
        assert ids(text.startswith("a/", autoescape=True)) == [2]
        assert ids(text.endswith("_b", autoescape=True)) == [4]
        assert ids(text.contains("\\", autoescape=True)) == [3]
        assert ids(text.like("ab#%_", escape="#")) == [0]
        assert ids(~text.contains("%", autoescape=True, escape="#")) == [1, 2, 3, 4]
        assert ids(text.like("a\\_b", escape="\\")) == [4]
        with pytest.raises(sa.exc.CompileError, match="LIKE cannot escape"):
            ids(text.like("x", escape="%"))

        some = sa.select(table.c.id).order_by(table.c.id)
        assert connection.scalars(some.offset(4)).all() == [4, 5]
        assert connection.scalars(some.limit(2).offset(1)).all() == [1, 2]
        bound = some.limit(sa.bindparam("n")).offset(sa.bindparam("from"))
        assert connection.scalars(bound, {"n": 1, "from": 3}).all() == [3]
        assert connection.execute(sa.select(table.c.x, table.c.d).where(table.c.id == 1)).one() == (2.5, decimal.Decimal("2.5"))
        assert ids(table.c.x == decimal.Decimal("1.125"), table.c.d == 1.125) == [0]


def test_a_connection_that_broke_is_noticed(tmp_path, server: Server) -> None:  # type: ignore[no-untyped-def]
    own = Server(tmp_path / "root")
    engine = sa.create_engine(own.url.replace("grpc://", "coverline://"), pool_pre_ping=True)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 41 + :one"), {"one": 1}) == 42
    listen = own.url.removeprefix("grpc://")
    own.kill()
    again = Server(tmp_path / "root", listen=listen)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    engine.dispose()
    assert again.stop() == 0


def test_urls_say_how_to_connect() -> None:
    with pytest.raises(sa.exc.ArgumentError, match="tsl"):
        sa.create_engine("coverline://127.0.0.1:1?tsl=true").connect()
    dialect = sa.create_engine("coverline://").dialect
    [address], options = dialect.create_connect_args(sa.make_url("coverline://me:p%3Aw@db:7?tls=true"))
    assert address == "grpc+tls://db:7"
    assert options["db_kwargs"] == {"username": "me", "password": "p:w"}
    assert dialect.create_connect_args(sa.make_url("coverline://"))[0] == ["grpc://127.0.0.1:50051"]


def test_an_engine_encrypts_and_shows_a_certificate(tmp_path: Path) -> None:
    files = Path(__file__).resolve().parents[3] / "flight-server" / "tests" / "tls"
    own = ("--tls-cert", str(files / "server.pem"), "--tls-key", str(files / "server.key"))
    server = Server(tmp_path / "root", *own, "--tls-client-ca", str(files / "client-ca.pem"))
    try:
        url = server.url.replace("grpc+tls://", "coverline://") + f"?tls=true&tls_root_certs={files / 'ca.pem'}"
        engine = sa.create_engine(f"{url}&cert_chain={files / 'client.pem'}&private_key={files / 'client.key'}")
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT 41 + 1")).scalar() == 42
        engine.dispose()
        # Who shows none, or one of another authority, is not served.
        for shown in ("", f"&cert_chain={files / 'server.pem'}&private_key={files / 'server.key'}"):
            with pytest.raises(sa.exc.DBAPIError), sa.create_engine(url + shown).connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        with pytest.raises(FileNotFoundError, match="absent.pem"):
            sa.create_engine(f"{url}&cert_chain={files / 'absent.pem'}").connect()
    finally:
        assert server.stop() == 0


def test_floats_keep_their_digits(engine: sa.Engine, name: str) -> None:
    frame = pd.DataFrame({"exists": [15.7563827, 0.1], "key": ["a", "b"]})
    # Its own index becomes a column "index", with an index on it.
    frame.to_sql(name, engine)
    back = pd.read_sql(f'SELECT * FROM "{name}" ORDER BY "index"', engine)
    assert back["exists"].tolist() == [15.7563827, 0.1]
    assert back.columns.tolist() == ["index", "exists", "key"]
    table = sa.Table(name, sa.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        found = sa.select(table.c.key).where(table.c["exists"] == 15.7563827)
        assert connection.execute(found).all() == [("a",)]
        labelled = sa.select(table.c.key.label("interval")).order_by(sa.desc("interval"))
        assert connection.execute(labelled).all() == [("b",), ("a",)]
    assert isinstance(table.c["exists"].type, sa.Double)
    narrow = sa.Table(f"{name}_narrow", sa.MetaData(), sa.Column("f", sa.Float(24)), sa.Column("d", sa.Float(53), index=True))
    narrow.create(engine)
    columns = sa.inspect(engine).get_columns(narrow.name)
    assert [type(column["type"]) for column in columns] == [sa.REAL, sa.Double]
    table.drop(engine)
    narrow.drop(engine)
    assert not sa.inspect(engine).has_table(name)


def test_frames_of_windows_are_counted(engine: sa.Engine, prices: coverline.Table) -> None:
    prices.append(day_of(0))
    table = sa.Table(prices.name, sa.MetaData(), autoload_with=engine)
    frame = sa.func.count().over(partition_by=table.c.symbol, order_by=table.c.ts, rows=(-2, 1))
    counted = sa.select(frame.label("n")).where(table.c.symbol == "NVDA").order_by(table.c.ts).limit(4)
    with engine.connect() as connection:
        assert [row.n for row in connection.execute(counted)] == [2, 3, 4, 4]


def test_the_driver_may_be_named(server: Server) -> None:
    engine = sa.create_engine(server.url.replace("grpc://", "coverline+adbc://"))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    engine.dispose()
