"""pyarrow.flight, as scripts use it: no Flight SQL helper, descriptors by path or packed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from conftest import SCHEMA, Server, day_of, field, pack, put, record_count

SQL = "arrow.flight.protocol.sql."


def query_descriptor(sql: str) -> flight.FlightDescriptor:
    return flight.FlightDescriptor.for_command(pack(SQL + "CommandStatementQuery", field(1, sql.encode())))


def read(client: flight.FlightClient, sql: str) -> pa.Table:
    info = client.get_flight_info(query_descriptor(sql))
    return client.do_get(info.endpoints[0].ticket).read_all()


def test_an_append_by_path_answers_with_a_count(flight_client: flight.FlightClient, prices: str, count: Callable[[str], int]) -> None:
    assert record_count(put(flight_client, prices, day_of(0))) == 48
    assert record_count(put(flight_client, prices, day_of(1))) == 48
    assert count(prices) == 96


def test_an_overlap_is_refused_with_details(flight_client: flight.FlightClient, loaded: str, count: Callable[[str], int]) -> None:
    with pytest.raises(flight.FlightError) as caught:
        put(flight_client, loaded, day_of(0, hours=range(22, 26)))
    text = str(caught.value)
    for word in (loaded, "4 buckets", "AAPL", "2025-03-01T22:00:00Z"):
        assert word in text
    details = bytes(caught.value.extra_info)
    for word in (b"google.rpc.ErrorInfo", b"COVERAGE_OVERLAP", b"overlap_count", b"committed", loaded.encode()):
        assert word in details
    assert count(loaded) == 48


def test_a_repeat_is_told_from_a_revision(flight_client: flight.FlightClient, loaded: str, count: Callable[[str], int]) -> None:
    # An entry of a protobuf map of texts.
    def said(key: str, value: str) -> bytes:
        entry = field(1, key.encode()) + field(2, value.encode())
        return field(3, entry)

    repeat = day_of(0)
    closes = repeat["close"].to_pylist()
    revision = repeat.set_column(repeat.schema.get_field_index("close"), "close", pa.array([close + 1 for close in closes]))
    for data, identical in ((repeat, "true"), (repeat.to_batches(max_chunksize=5), "true"), (revision, "false"), (repeat.slice(1), "false")):
        with pytest.raises(flight.FlightError) as caught:
            put(flight_client, loaded, data)
        details = bytes(caught.value.extra_info)
        assert said("identical", identical) in details
        assert said("committed", "no") in details
    assert count(loaded) == 48


def test_an_id_used_for_other_rows_is_refused(flight_client: flight.FlightClient, loaded: str, count: Callable[[str], int]) -> None:
    key = {"x-coverline-append-id": f"id-{loaded}"}
    put(flight_client, loaded, day_of(1), key)
    with pytest.raises(pa.ArrowException, match="was used for other rows"):
        put(flight_client, loaded, day_of(2), key)
    with pytest.raises(pa.ArrowException, match="the append id has 481 bytes"):
        put(flight_client, loaded, day_of(2), {"x-coverline-append-id": "k" * 481})
    assert count(loaded) == 96


def test_headers_choose_skip_and_an_append_id(flight_client: flight.FlightClient, loaded: str, count: Callable[[str], int]) -> None:
    two_days = pa.concat_tables([day_of(0), day_of(1)])
    assert record_count(put(flight_client, loaded, two_days, {"x-coverline-on-overlap": "skip"})) == 48
    assert count(loaded) == 96
    key = {"x-coverline-append-id": f"id-{loaded}"}
    first = put(flight_client, loaded, day_of(2), key)
    again = put(flight_client, loaded, day_of(2), key)
    assert record_count(first) == record_count(again) == 48
    assert count(loaded) == 144
    with pytest.raises(pa.ArrowException):
        put(flight_client, loaded, day_of(3), {"x-coverline-on-overlap": "merge"})


def test_a_query_has_the_schema_of_its_info(flight_client: flight.FlightClient, loaded: str) -> None:
    info = flight_client.get_flight_info(query_descriptor(f"SELECT *, 1 AS one, 'x' AS x FROM {loaded} ORDER BY symbol, ts"))
    assert len(info.endpoints) == 1
    assert info.endpoints[0].locations == []
    reader = flight_client.do_get(info.endpoints[0].ticket)
    assert reader.schema == info.schema
    table = reader.read_all()
    assert table.num_rows == 48
    assert info.total_records in (-1, 48)
    assert table.select(SCHEMA.names).to_pylist() == day_of(0).sort_by([("symbol", "ascending"), ("ts", "ascending")]).to_pylist()


def test_a_ticket_keeps_its_version(flight_client: flight.FlightClient, server, loaded: str) -> None:  # type: ignore[no-untyped-def]
    ticket = flight_client.get_flight_info(query_descriptor(f"SELECT count(*) AS n FROM {loaded}")).endpoints[0].ticket
    put(flight_client, loaded, day_of(1))
    for _ in range(2):
        with flight.FlightClient(server.url) as other:
            assert other.do_get(ticket).read_all()["n"].to_pylist() == [48]
    assert read(flight_client, f"SELECT count(*) AS n FROM {loaded}")["n"].to_pylist() == [96]


def test_get_schema_answers_for_queries_and_metadata(flight_client: flight.FlightClient, loaded: str) -> None:
    schema = flight_client.get_schema(query_descriptor(f"SELECT * FROM {loaded}")).schema
    assert schema.names == SCHEMA.names
    assert schema == flight_client.get_flight_info(query_descriptor(f"SELECT * FROM {loaded}")).schema
    for command in ("CommandGetTables", "CommandGetCatalogs", "CommandGetDbSchemas", "CommandGetTableTypes", "CommandGetSqlInfo"):
        descriptor = flight.FlightDescriptor.for_command(pack(SQL + command))
        assert len(flight_client.get_schema(descriptor).schema) > 0


@pytest.mark.parametrize(
    ("command", "columns"),
    [
        ("CommandGetCatalogs", ["catalog_name"]),
        ("CommandGetDbSchemas", ["catalog_name", "db_schema_name"]),
        ("CommandGetTables", ["catalog_name", "db_schema_name", "table_name", "table_type"]),
        ("CommandGetTableTypes", ["table_type"]),
        ("CommandGetSqlInfo", ["info_name", "value"]),
        ("CommandGetXdbcTypeInfo", None),
    ],
)
def test_metadata_commands_answer_with_the_schema_of_their_info(
    flight_client: flight.FlightClient, loaded: str, command: str, columns: list[str] | None
) -> None:
    info = flight_client.get_flight_info(flight.FlightDescriptor.for_command(pack(SQL + command)))
    table = flight_client.do_get(info.endpoints[0].ticket).read_all()
    assert table.schema == info.schema
    assert columns is None or table.schema.names == columns
    assert table.num_rows > 0


@pytest.mark.parametrize("command", ["CommandGetPrimaryKeys", "CommandGetExportedKeys", "CommandGetImportedKeys"])
def test_keys_are_an_empty_answer(flight_client: flight.FlightClient, loaded: str, command: str) -> None:
    descriptor = flight.FlightDescriptor.for_command(pack(SQL + command, field(3, loaded.encode())))
    info = flight_client.get_flight_info(descriptor)
    table = flight_client.do_get(info.endpoints[0].ticket).read_all()
    assert table.num_rows == 0
    assert "key_name" in " ".join(table.schema.names)


def test_an_update_by_hand_answers_without_waiting_for_the_end(flight_client: flight.FlightClient, name: str) -> None:
    statement = f"CREATE TABLE {name} (ts TIMESTAMP NOT NULL, v DOUBLE) WITH (index_column = 'ts', bucket = '1h')"
    descriptor = flight.FlightDescriptor.for_command(pack(SQL + "CommandStatementUpdate", field(1, statement.encode())))
    writer, answers = flight_client.do_put(descriptor, pa.schema([]))
    answer = answers.read()
    writer.close()
    assert answer is not None
    assert record_count(answer.to_pybytes()) in (0, -1)
    assert read(flight_client, f"SELECT count(*) AS n FROM {name}")["n"].to_pylist() == [0]


def test_actions_are_listed_and_unknown_ones_refused(flight_client: flight.FlightClient) -> None:
    listed = {action.type for action in flight_client.list_actions()}
    assert {"CreatePreparedStatement", "ClosePreparedStatement"} <= listed
    with pytest.raises(pa.ArrowNotImplementedError, match="NoSuchAction"):
        list(flight_client.do_action(flight.Action("NoSuchAction", b"")))


def test_basic_authentication_succeeds_where_none_is_asked_for(flight_client: flight.FlightClient) -> None:
    header, value = flight_client.authenticate_basic_token("user", "pass:word")
    assert header == b"authorization"
    assert value.startswith(b"Bearer ")
    options = flight.FlightCallOptions(headers=[(header, value)])
    assert len(flight_client.get_flight_info(query_descriptor("SELECT 1"), options).endpoints) == 1
    anything = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer None")])
    assert len(flight_client.get_flight_info(query_descriptor("SELECT 1"), anything).endpoints) == 1


def test_sql_text_alone_is_a_command(flight_client: flight.FlightClient) -> None:
    info = flight_client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 41 + 1 AS n"))
    assert flight_client.do_get(info.endpoints[0].ticket).read_all()["n"].to_pylist() == [42]


def test_a_path_reads_the_table(flight_client: flight.FlightClient, loaded: str) -> None:
    info = flight_client.get_flight_info(flight.FlightDescriptor.for_path(loaded))
    assert flight_client.do_get(info.endpoints[0].ticket).read_all().num_rows == 48


def test_tables_are_listed_as_flights(flight_client: flight.FlightClient, loaded: str) -> None:
    # Names have a _ , which stands for any character unless it is escaped.
    [info] = flight_client.list_flights(loaded.replace("_", "\\_").encode())
    assert info.descriptor.path == [loaded.encode()]
    assert info.total_records == 48
    table = flight_client.do_get(info.endpoints[0].ticket).read_all()
    assert table.schema == info.schema
    assert table.num_rows == 48
    assert loaded in [info.descriptor.path[0].decode() for info in flight_client.list_flights()]


def test_readers_in_parallel_on_one_connection(flight_client: flight.FlightClient, loaded: str) -> None:
    ticket = flight_client.get_flight_info(query_descriptor(f"SELECT * FROM {loaded}")).endpoints[0].ticket
    readers = [flight_client.do_get(ticket) for _ in range(20)]
    assert [reader.read_all().num_rows for reader in readers] == [48] * 20


def test_a_large_result_comes_in_small_messages(flight_client: flight.FlightClient, loaded: str) -> None:
    sql = f"SELECT a.symbol, b.close, c.ts FROM {loaded} a CROSS JOIN {loaded} b CROSS JOIN {loaded} c"
    reader = flight_client.do_get(flight_client.get_flight_info(query_descriptor(sql)).endpoints[0].ticket)
    rows = 0
    for chunk in reader:
        assert chunk.data.nbytes <= 4 * 1024 * 1024
        rows += chunk.data.num_rows
    assert rows == 48**3


def test_a_cancelled_reader_leaves_the_connection_usable(flight_client: flight.FlightClient, loaded: str) -> None:
    sql = f"SELECT a.* FROM {loaded} a CROSS JOIN {loaded} b CROSS JOIN {loaded} c CROSS JOIN {loaded} d CROSS JOIN {loaded} e"
    reader = flight_client.do_get(flight_client.get_flight_info(query_descriptor(sql)).endpoints[0].ticket)
    assert reader.read_chunk().data.num_rows > 0
    reader.cancel()
    assert read(flight_client, "SELECT 1 AS one")["one"].to_pylist() == [1]


def test_a_deadline_ends_a_call_and_its_work(tmp_path: Path) -> None:
    # A server of its own: work that goes on for nobody would slow down the others, and shows when the server is to stop.
    server = Server(tmp_path / "root")
    with flight.FlightClient(server.url) as client:
        values = "(VALUES " + ", ".join(f"({number})" for number in range(48)) + ")"
        sql = f"SELECT count(*) FROM {' CROSS JOIN '.join(f'{values} t{i}(a)' for i in range(8))} WHERE random() < 2"
        info = client.get_flight_info(query_descriptor(sql))
        with pytest.raises(flight.FlightTimedOutError):
            client.do_get(info.endpoints[0].ticket, flight.FlightCallOptions(timeout=1.0)).read_all()
        assert read(client, "SELECT 1 AS one")["one"].to_pylist() == [1]
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda c: c.get_flight_info(query_descriptor("SELECT * FROM nowhere")), pa.ArrowException),
        (lambda c: c.get_flight_info(query_descriptor("SELEC 1")), pa.ArrowException),
        (lambda c: c.do_get(flight.Ticket(b"\xff\xfe\x00garbage")).read_all(), pa.ArrowException),
        (lambda c: c.do_get(flight.Ticket(b"")).read_all(), pa.ArrowException),
        (lambda c: c.get_flight_info(flight.FlightDescriptor.for_command(b"\xff\xfe")), pa.ArrowException),
        (lambda c: c.get_flight_info(flight.FlightDescriptor.for_path("a", "b")), pa.ArrowException),
        (lambda c: c.do_exchange(flight.FlightDescriptor.for_path("t"))[1].read_all(), pa.ArrowNotImplementedError),
    ],
    ids=["table", "syntax", "ticket", "empty-ticket", "command", "path", "do_exchange"],
)
def test_wrong_calls_are_refused_with_a_reason(
    flight_client: flight.FlightClient, call: Callable[[flight.FlightClient], object], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        call(flight_client)
    # Never what tonic says of a handler that panicked or a connection that broke.
    assert not isinstance(caught.value, flight.FlightUnavailableError)
    assert len(str(caught.value)) > 20
    assert read(flight_client, "SELECT 1 AS one")["one"].to_pylist() == [1]
