"""The protobuf codec, against bytes that protobuf itself made or that the encoding guide gives."""

import pytest

from coverline import _wire


@pytest.mark.parametrize(
    ("value", "raw"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (150, "9601"), (-1, "ff" * 9 + "01"), (2**63, "80" * 9 + "01")],
)
def test_varints_are_those_of_the_encoding_guide(value: int, raw: str) -> None:
    assert _wire.varint(value).hex() == raw
    assert list(_wire.fields(b"\x08" + bytes.fromhex(raw))) == [(1, value % 2**64)]


def test_least_versions_are_a_number_or_pairs() -> None:
    assert _wire.min_version(41) == "41"
    assert _wire.min_version({"prices": 41, "a,b=é": 7}) == "prices=41,a%2Cb%3D%C3%A9=7"


def test_an_append_command_has_the_bytes_of_protobuf() -> None:
    # AppendCommand(table="t", on_overlap=SKIP, commit=STREAM, append_id="k") packed in an Any.
    url = b"type.googleapis.com/coverline.flight.v1.AppendCommand"
    message = b"\x0a\x01t\x10\x02\x18\x01\x22\x01k"
    expected = b"\x0a" + bytes([len(url)]) + url + b"\x12" + bytes([len(message)]) + message
    assert _wire.append_command("t", "skip", "k") == expected


def test_a_statement_is_packed_under_its_type() -> None:
    url, message = _wire.unpack_any(_wire.statement_query("SELECT 1"))
    assert url == "type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    assert message == b"\x0a\x08SELECT 1"


def test_a_receipt_is_read_with_fields_in_any_order_and_unknown_ones_skipped() -> None:
    raw = (
        _wire.int_field(105, 1)
        + _wire.bytes_field(100, "prices")
        + _wire.int_field(999, 7)
        + _wire.bytes_field(998, b"later")
        + bytes([(3 << 3) | 5]) + b"\0\0\0\0"
        + bytes([(4 << 3) | 1]) + b"\0" * 8
        + _wire.int_field(104, 2)
        + _wire.int_field(103, 3)
        + _wire.int_field(102, 4)
        + _wire.int_field(101, 5)
        + _wire.int_field(1, 6)
    )
    assert _wire.decode_receipt(raw) == {
        "table": "prices",
        "version": 5,
        "row_count": 6,
        "rows_skipped": 4,
        "buckets_covered": 3,
        "segment_count": 2,
        "repeated": True,
    }


def test_a_record_count_can_be_negative() -> None:
    assert _wire.decode_record_count(_wire.int_field(1, -1)) == -1
    assert _wire.decode_record_count(b"") == 0


def test_a_status_gives_its_error_info() -> None:
    entry = _wire.bytes_field(1, "table") + _wire.bytes_field(2, "prices")
    info = _wire.bytes_field(1, "NOT_FOUND") + _wire.bytes_field(2, "coverline") + _wire.bytes_field(3, entry)
    other = _wire.pack_any("type.googleapis.com/google.rpc.Help", b"\x0a\x01x")
    raw = (
        _wire.int_field(1, 5)
        + _wire.bytes_field(2, "no table “prices”")
        + _wire.bytes_field(3, other)
        + _wire.bytes_field(3, _wire.pack_any(_wire.ERROR_INFO_URL, info))
    )
    status = _wire.decode_status(raw)
    assert (status.code, status.message) == (5, "no table “prices”")
    assert status.info == _wire.ErrorInfo("NOT_FOUND", "coverline", {"table": "prices"})


@pytest.mark.parametrize("raw", ["08", "0880", "0a05616263", "0b", "0f", "08" + "80" * 10 + "01", "0d0000", "0900"])
def test_damaged_bytes_are_an_error_and_not_a_value(raw: str) -> None:
    with pytest.raises(_wire.WireError):
        list(_wire.fields(bytes.fromhex(raw)))


def test_no_cut_of_a_message_goes_wrong_in_another_way() -> None:
    whole = _wire.append_command("prices", "reject", "an id")
    for size in range(len(whole)):
        try:
            _wire.unpack_any(whole[:size])
        except _wire.WireError:
            pass


def test_a_ticket_tells_the_version_it_is_pinned_to() -> None:
    pin = _wire.bytes_field(1, b"\x01" * 16) + _wire.bytes_field(2, "prices") + _wire.int_field(3, 41)
    query = _wire.bytes_field(1, "SELECT 1") + _wire.bytes_field(2, pin)
    handle = _wire.pack_any("type.googleapis.com/coverline.flight.v1.QueryTicket", query)
    ticket = _wire.pack_any(
        "type.googleapis.com/arrow.flight.protocol.sql.TicketStatementQuery", _wire.bytes_field(1, handle)
    )
    assert _wire.decode_ticket_version(ticket) == 41
    with pytest.raises(_wire.WireError):
        _wire.decode_ticket_version(_wire.pack_any("x", b""))
