"""Forms of a result that a client asks for by header: compressed buffers, and types as the engine has them."""

from __future__ import annotations

from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as flight
import pytest

from conftest import Server

# Strings of which there are many, and which compress well.
SQL = b"SELECT arrow_cast('a text that repeats itself, ' || (value % 3), 'Utf8View') AS s, value AS n FROM generate_series(1, 200000) ORDER BY n"




def options(**headers: str) -> flight.FlightCallOptions:
    named = {f"x-coverline-{name.replace('_', '-')}": value for name, value in headers.items()}
    return flight.FlightCallOptions(headers=[(name.encode(), value.encode()) for name, value in named.items()])


def fetch(client: flight.FlightClient, asking: flight.FlightCallOptions, reading: flight.FlightCallOptions) -> pa.Table:
    info = client.get_flight_info(flight.FlightDescriptor.for_command(SQL), asking)
    table = client.do_get(info.endpoints[0].ticket, reading).read_all()
    assert table.schema == info.schema
    return table


@pytest.mark.parametrize("kind", ["lz4", "zstd"])
def test_a_compressed_result_is_the_same_rows(flight_client: flight.FlightClient, kind: str) -> None:
    plain = fetch(flight_client, options(), options())
    # Asked for when the query is made, or when it is read.
    for asking, reading in [(options(compression=kind), options()), (options(), options(compression=kind))]:
        assert fetch(flight_client, asking, reading) == plain
    # What the query asked for is not what the reader has to take.
    assert fetch(flight_client, options(compression=kind), options(compression="none")) == plain


def test_types_are_those_of_the_engine_when_asked_for(flight_client: flight.FlightClient) -> None:
    portable = fetch(flight_client, options(), options())
    assert portable.schema.types == [pa.string(), pa.int64()]
    native = fetch(flight_client, options(native_types="true"), options())
    assert native.schema.types == [pa.string_view(), pa.int64()]
    assert native.cast(portable.schema) == portable


def test_adbc_asks_by_the_headers_of_its_connection(server: Server) -> None:
    headers = {
        "adbc.flight.sql.rpc.call_header.x-coverline-compression": "zstd",
        "adbc.flight.sql.rpc.call_header.x-coverline-native-types": "true",
    }
    with adbc.connect(server.url, db_kwargs=headers, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(SQL.decode())
        table = cursor.fetch_arrow_table()
        assert table.schema.types == [pa.string_view(), pa.int64()]
        assert table.num_rows == 200_000
        assert pa.compute.sum(table["n"]).as_py() == 200_000 * 200_001 // 2


@pytest.mark.parametrize("wrong", [{"compression": "gzip"}, {"native_types": "perhaps"}])
def test_a_form_that_there_is_not_is_refused(flight_client: flight.FlightClient, wrong: dict[str, str]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(pa.ArrowInvalid, match=value):
        fetch(flight_client, options(**wrong), options())
    with pytest.raises(pa.ArrowInvalid, match=name.replace("_", "-")):
        fetch(flight_client, options(), options(**wrong))


class Cookies(flight.ClientMiddlewareFactory, flight.ClientMiddleware):
    """Keeps the cookies of one client and sends them, as browsers do."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def start_call(self, info: Any) -> Cookies:
        return self

    def sending_headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.kept.items())} if self.kept else {}

    def received_headers(self, headers: dict[str, list[str]]) -> None:
        for line in headers.get("set-cookie", []):
            pair, *attributes = line.split(";")
            name, _, value = pair.partition("=")
            self.kept[name] = value
            if any(attribute.strip() == "Max-Age=0" for attribute in attributes):
                del self.kept[name]


def test_adbc_chooses_a_form_for_its_session(server: Server) -> None:
    kept = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}
    prefix = "adbc.flight.sql.session.option"
    with adbc.connect(server.url, db_kwargs=kept, autocommit=True) as connection, connection.cursor() as cursor:
        session = connection.adbc_connection
        session.set_options(**{f"{prefix}.compression": "lz4", f"{prefix}bool.native_types": "true"})
        assert session.get_option(f"{prefix}.compression") == "lz4"
        assert session.get_option(f"{prefix}bool.native_types") == "true"
        cursor.execute(SQL.decode())
        table = cursor.fetch_arrow_table()
        assert table.schema.types == [pa.string_view(), pa.int64()]
        assert table.num_rows == 200_000
        with pytest.raises(adbc.Error):
            session.set_options(**{f"{prefix}.compression": "gzip"})
        session.set_options(**{f"{prefix}erase.native_types": ""})
        cursor.execute(SQL.decode())
        assert cursor.fetch_arrow_table().schema.types == [pa.string(), pa.int64()]
        # Another connection has a session of its own.
        with adbc.connect(server.url, db_kwargs=kept, autocommit=True) as other:
            assert other.adbc_connection.get_option(f"{prefix}.compression") == "none"


def test_a_session_has_the_form_that_it_chose_and_no_other_has(server: Server) -> None:
    cookies = Cookies()
    client = flight.FlightClient(server.url, middleware=[cookies])
    other = flight.FlightClient(server.url, middleware=[Cookies()])
    # {"native_types": bool_value true, "compression": string_value "zstd"}
    body = b"\x0a\x12\x0a\x0cnative_types\x12\x02\x10\x01" + b"\x0a\x15\x0a\x0bcompression\x12\x06\x0a\x04zstd"
    assert [bytes(result.body) for result in client.do_action(flight.Action("SetSessionOptions", body))] == [b""]
    assert cookies.kept == {"coverline_form": "zstd.native.1"}
    assert fetch(client, options(), options()).schema.types == [pa.string_view(), pa.int64()]
    assert client.get_schema(flight.FlightDescriptor.for_command(SQL)).schema.types == [pa.string_view(), pa.int64()]
    # What a call says goes before, and what another client chose is its own.
    assert fetch(client, options(native_types="false", compression="none"), options()).schema.types == [pa.string(), pa.int64()]
    assert fetch(other, options(), options()).schema.types == [pa.string(), pa.int64()]
    list(client.do_action(flight.Action("CloseSession", b"")))
    assert cookies.kept == {}
    assert fetch(client, options(), options()).schema.types == [pa.string(), pa.int64()]
    cookies.kept = {"coverline_form": "gzip"}
    with pytest.raises(pa.ArrowInvalid, match="which this server did not give"):
        fetch(client, options(), options())
