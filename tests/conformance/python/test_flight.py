"""pyarrow.flight, as scripts use it: no Flight SQL helper, descriptors by path or packed by hand."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def prepare(client: flight.FlightClient, sql: str) -> bytes:
    """The handle of a prepared statement, packed for the commands that take one."""
    request = pack(SQL + "ActionCreatePreparedStatementRequest", field(1, sql.encode()))
    [result] = client.do_action(flight.Action("CreatePreparedStatement", request))
    # Both messages have nothing but texts and bytes: the handle is the first field of what is packed in the second one.
    packed = fields(result.body.to_pybytes())[2]
    return field(1, fields(packed)[1])


def fields(message: bytes) -> dict[int, bytes]:
    """The fields of a protobuf message, all of them texts or bytes."""
    found, position = {}, 0
    while position < len(message):
        number, position = message[position] >> 3, position + 1
        size = shift = 0
        while (byte := message[position]) > 0x7F:
            size, shift, position = size | (byte & 0x7F) << shift, shift + 7, position + 1
        size, position = size | byte << shift, position + 1
        found[number], position = message[position : position + size], position + size
    return found


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
    # Nobody knows how many bytes it will be, and a guess would be taken for the truth.
    assert info.total_bytes == -1
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
    ("command", "asks"),
    [
        ("CommandGetCatalogs", lambda _: b""),
        ("CommandGetDbSchemas", lambda _: b""),
        ("CommandGetTables", lambda _: b""),
        # With the column table_schema, by include_schema.
        ("CommandGetTables", lambda table: field(3, table.encode()) + b"\x28\x01"),
        ("CommandGetTableTypes", lambda _: b""),
        ("CommandGetSqlInfo", lambda _: b""),
        ("CommandGetXdbcTypeInfo", lambda _: b""),
        ("CommandGetPrimaryKeys", lambda table: field(3, table.encode())),
        ("CommandGetExportedKeys", lambda table: field(3, table.encode())),
        ("CommandGetImportedKeys", lambda table: field(3, table.encode())),
        ("CommandGetCrossReference", lambda table: field(3, table.encode()) + field(6, table.encode())),
    ],
)
def test_get_schema_of_a_command_is_that_of_its_info(
    flight_client: flight.FlightClient, loaded: str, command: str, asks: Callable[[str], bytes]
) -> None:
    descriptor = flight.FlightDescriptor.for_command(pack(SQL + command, asks(loaded)))
    schema = flight_client.get_schema(descriptor).schema
    info = flight_client.get_flight_info(descriptor)
    assert len(schema) > 0
    assert schema.equals(info.schema, check_metadata=True)
    assert schema.equals(flight_client.do_get(info.endpoints[0].ticket).read_all().schema, check_metadata=True)


def test_get_schema_of_a_prepared_statement_is_that_of_its_info(flight_client: flight.FlightClient, loaded: str) -> None:
    handle = prepare(flight_client, f"SELECT symbol, sum(close) AS total FROM {loaded} GROUP BY symbol")
    descriptor = flight.FlightDescriptor.for_command(pack(SQL + "CommandPreparedStatementQuery", handle))
    schema = flight_client.get_schema(descriptor).schema
    assert schema.names == ["symbol", "total"]
    assert schema.equals(flight_client.get_flight_info(descriptor).schema, check_metadata=True)


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


@pytest.mark.parametrize("batches", [0, 1])
@pytest.mark.parametrize("door", ["CommandStatementUpdate", "CommandPreparedStatementUpdate"])
def test_an_update_needs_no_end_of_the_stream_and_no_columns(
    flight_client: flight.FlightClient, name: str, count: Callable[[str], int], door: str, batches: int
) -> None:
    """Clients that wait for the answer before they end their stream, and those that send a batch of nothing in place of none."""
    read(flight_client, f"CREATE TABLE {name} (n BIGINT)")
    insert = f"INSERT INTO {name} VALUES (1), (2)"
    asked = field(1, insert.encode()) if door == "CommandStatementUpdate" else prepare(flight_client, insert)
    empty = pa.schema([])
    writer, answers = flight_client.do_put(flight.FlightDescriptor.for_command(pack(SQL + door, asked)), empty)
    for _ in range(batches):
        writer.write_batch(pa.RecordBatch.from_arrays([], schema=empty))
    answer = answers.read()
    assert answer is not None
    assert record_count(answer.to_pybytes()) == 2
    writer.done_writing()
    assert answers.read() is None, "there is one answer, and then the end"
    writer.close()
    assert count(name) == 2


def test_options_of_an_ingestion_that_nobody_knows_are_left_alone(
    flight_client: flight.FlightClient, name: str, count: Callable[[str], int]
) -> None:
    """Drivers put options of their own beside those of the server."""

    def option(key: str, value: str) -> bytes:
        # An entry of the map in field 1000, whose tag takes two bytes.
        entry = field(1, key.encode()) + field(2, value.encode())
        return b"\xc2\x3e" + bytes([len(entry)]) + entry

    # if_not_exist CREATE, if_exists FAIL.
    definition = field(1, b"\x08\x01\x10\x01")
    known = option("index_column", "ts") + option("bucket", "1h") + option("entity_columns", "symbol")
    command = pack(SQL + "CommandStatementIngest", definition + field(2, name.encode()) + option("colour", "red") + known)
    writer, answers = flight_client.do_put(flight.FlightDescriptor.for_command(command), SCHEMA)
    writer.write_table(day_of(0))
    writer.done_writing()
    answer = answers.read()
    writer.close()
    assert answer is not None
    assert record_count(answer.to_pybytes()) == count(name) == 48
    # Those that are known were heard: the table refuses the same hours.
    with pytest.raises(flight.FlightError, match="48 buckets"):
        put(flight_client, name, day_of(0))


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


class Listener(flight.ClientMiddlewareFactory):
    """Keeps what a server sends in the headers and trailers of each call."""

    def __init__(self) -> None:
        self.heard: list[tuple[flight.FlightMethod, dict[str, list[str]]]] = []

    def start_call(self, info: Any) -> flight.ClientMiddleware:
        heard = self.heard

        class Call(flight.ClientMiddleware):
            def received_headers(self, headers: dict[str, list[str]]) -> None:
                heard.append((info.method, headers))

        return Call()


def test_what_a_client_identifies_itself_with_is_not_sent_back(server: Server, prices: str) -> None:
    listener = Listener()
    with flight.FlightClient(server.url, middleware=[listener]) as client:
        header, value = client.authenticate_basic_token("user", "pass:word")
        options = flight.FlightCallOptions(headers=[(header, value)])
        query = query_descriptor("SELECT 1 AS one")
        client.do_get(client.get_flight_info(query, options).endpoints[0].ticket, options).read_all()
        client.get_schema(query, options)
        list(client.list_flights(b"", options))
        list(client.list_actions(options))
        request = pack(SQL + "ActionCreatePreparedStatementRequest", field(1, b"SELECT 1"))
        list(client.do_action(flight.Action("CreatePreparedStatement", request), options))
        put(client, prices, day_of(0), {"authorization": value.decode()})
        for refused in (
            lambda: client.get_flight_info(query_descriptor("SELECT * FROM nowhere"), options),
            lambda: put(client, prices, day_of(0), {"authorization": value.decode()}),
        ):
            with pytest.raises(pa.ArrowException) as caught:
                refused()
            assert value.decode().removeprefix("Bearer ") not in str(caught.value)
    method = flight.FlightMethod
    assert {call for call, _ in listener.heard} >= {
        method.HANDSHAKE,
        method.GET_FLIGHT_INFO,
        method.DO_GET,
        method.GET_SCHEMA,
        method.LIST_FLIGHTS,
        method.LIST_ACTIONS,
        method.DO_ACTION,
        method.DO_PUT,
    }
    # The handshake gives the token out, and that is all.
    assert {call for call, headers in listener.heard if "authorization" in headers} == {method.HANDSHAKE}
    later = [text for call, headers in listener.heard if call != method.HANDSHAKE for texts in headers.values() for text in texts]
    assert [text for text in later if value.decode().removeprefix("Bearer ") in str(text)] == []


@pytest.mark.parametrize(
    ("value", "cast", "arrives", "read_as"),
    [
        ("'text'", "LargeUtf8", pa.string(), "text"),
        ("'a text longer than twelve bytes'", "Utf8View", pa.string(), "a text longer than twelve bytes"),
        ("'text'", "Dictionary(Int8, Utf8)", pa.string(), "text"),
        ("'text'", 'RunEndEncoded("run_ends": non-null Int32, "values": nullable Utf8)', pa.string(), "text"),
        ("X'00ff'", "LargeBinary", pa.binary(), b"\x00\xff"),
        ("X'00ff'", "BinaryView", pa.binary(), b"\x00\xff"),
        ("1.5", "Float16", pa.float32(), 1.5),
        ("1.5", "Decimal32(5, 2)", pa.decimal128(5, 2), decimal.Decimal("1.50")),
        ("1.5", "Decimal64(5, 2)", pa.decimal128(5, 2), decimal.Decimal("1.50")),
        ("[1, NULL, 3]", "LargeList(Int64)", pa.list_(pa.int64()), [1, None, 3]),
        ("[1, NULL, 3]", "ListView(Int64)", pa.list_(pa.int64()), [1, None, 3]),
        ("[1, NULL, 3]", "LargeListView(Int64)", pa.list_(pa.int64()), [1, None, 3]),
        ("['a', NULL]", "List(Utf8View)", pa.list_(pa.string()), ["a", None]),
        ("NULL", "Null", pa.string(), None),
        # These have no other form, and every client reads them.
        ("1.5", "Decimal256(50, 2)", pa.decimal256(50, 2), decimal.Decimal("1.50")),
        ("X'00ff'", "FixedSizeBinary(2)", pa.binary(2), b"\x00\xff"),
        ("[1, 2]", "FixedSizeList(2, Int64)", pa.list_(pa.int64(), 2), [1, 2]),
    ],
)
def test_computed_columns_arrive_in_types_that_every_client_reads(
    flight_client: flight.FlightClient, value: str, cast: str, arrives: pa.DataType, read_as: object
) -> None:
    table = read(flight_client, f"SELECT arrow_cast({value}, '{cast}') AS v")
    assert table.schema.field("v").type == arrives
    assert table["v"].to_pylist() == [read_as]


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
