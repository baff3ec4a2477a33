"""A server with a certificate: stock clients that trust its authority, and those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import polars as pl
import pyarrow as pa
import pyarrow.flight as flight
import pytest
from adbc_driver_flightsql import DatabaseOptions

from conftest import TLS, Server, day_of, put

AUTHORITY = TLS / "ca.pem"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = ("--tls-cert", str(TLS / "server.pem"), "--tls-key", str(TLS / "server.key"))
    server = Server(tmp_path_factory.mktemp("tls") / "root", *arguments)
    assert server.url.startswith("grpc+tls://")
    yield server
    assert server.process.poll() is None, f"the server died: {server.log.read_text()[-2000:]}"
    assert server.stop() == 0


def connect(server: Server, **options: str) -> Any:
    trust = {DatabaseOptions.TLS_ROOT_CERTS.value: AUTHORITY.read_text()}
    return adbc.connect(server.url, db_kwargs=trust | options, autocommit=True)


def test_pyarrow_appends_and_reads(secured: Server) -> None:
    with flight.FlightClient(secured.url, tls_root_certs=AUTHORITY.read_bytes()) as client:
        client.get_flight_info(
            flight.FlightDescriptor.for_command(b"CREATE TABLE prices WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')")
        )
        put(client, "prices", day_of(0))
        info = client.get_flight_info(flight.FlightDescriptor.for_path("prices"))
        assert client.do_get(info.endpoints[0].ticket).read_all().num_rows == 48
        header, value = client.authenticate_basic_token("user", "password")
        assert (header, value[:7]) == (b"authorization", b"Bearer ")


def test_adbc_connects_by_its_own_scheme_which_means_tls(secured: Server) -> None:
    url = secured.url.replace("grpc+tls://127.0.0.1", "flightsql://localhost")
    trust = {DatabaseOptions.TLS_ROOT_CERTS.value: AUTHORITY.read_text()}
    with adbc.connect(url, db_kwargs=trust, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS n")
        assert cursor.fetchall() == [(1,)]
    with connect(secured, username="u", password="p:q") as connection:
        assert pl.read_database("SELECT 41 + 1 AS n", connection)["n"].to_list() == [42]
        with connection.cursor() as cursor:
            cursor.adbc_ingest("numbers", pa.table({"n": list(range(100_000))}), mode="create")
            cursor.execute("SELECT sum(n) FROM numbers")
            assert cursor.fetchone() == (4_999_950_000,)


def test_who_does_not_trust_the_authority_is_not_served(secured: Server) -> None:
    with pytest.raises(pa.ArrowException), flight.FlightClient(secured.url) as client:
        client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 1"))
    plain = secured.url.replace("grpc+tls", "grpc")
    with pytest.raises(pa.ArrowException), flight.FlightClient(plain) as client:
        client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 1"), flight.FlightCallOptions(timeout=20))
    # Without looking at the certificate everybody is served.
    with flight.FlightClient(secured.url, disable_server_verification=True) as client:
        assert client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 1")).endpoints


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = ("--tls-cert", str(TLS / "server.pem"), "--tls-key", str(TLS / "server.key"))
    server = Server(tmp_path_factory.mktemp("mtls") / "root", *arguments, "--tls-client-ca", str(TLS / "client-ca.pem"))
    yield server
    assert server.stop() == 0


def test_who_shows_a_certificate_of_the_authority_is_served(closed: Server) -> None:
    chain, key = (TLS / "client.pem").read_bytes(), (TLS / "client.key").read_bytes()
    with flight.FlightClient(closed.url, tls_root_certs=AUTHORITY.read_bytes(), cert_chain=chain, private_key=key) as client:
        assert client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 1")).endpoints
    shown = {
        DatabaseOptions.MTLS_CERT_CHAIN.value: chain.decode(),
        DatabaseOptions.MTLS_PRIVATE_KEY.value: key.decode(),
    }
    with connect(closed, **shown) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS n")
        assert cursor.fetchall() == [(1,)]


def test_who_shows_none_or_that_of_another_authority_is_not_served(closed: Server) -> None:
    wrong = {"cert_chain": (TLS / "server.pem").read_bytes(), "private_key": (TLS / "server.key").read_bytes()}
    for shown in ({}, wrong):
        with pytest.raises(pa.ArrowException), flight.FlightClient(closed.url, tls_root_certs=AUTHORITY.read_bytes(), **shown) as client:
            client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 1"), flight.FlightCallOptions(timeout=20))
    with pytest.raises(adbc.Error), connect(closed) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS n")
