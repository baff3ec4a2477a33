"""Which exception an error of pyarrow becomes."""

import pyarrow as pa
import pyarrow.flight as flight
import pytest

import coverline
from coverline import _wire, errors


def structured(reason: str, code: int = 3, message: str = "what went wrong", **metadata: str) -> flight.FlightError:
    info = _wire.bytes_field(1, reason) + _wire.bytes_field(2, "coverline")
    for key, value in metadata.items():
        info += _wire.bytes_field(3, _wire.bytes_field(1, key) + _wire.bytes_field(2, value))
    status = (
        _wire.int_field(1, code)
        + _wire.bytes_field(2, message)
        + _wire.bytes_field(3, _wire.pack_any(_wire.ERROR_INFO_URL, info))
    )
    return flight.FlightInternalError(f"Flight returned internal error, with message: {message}", status)


@pytest.mark.parametrize(("reason", "kind"), list(errors._BY_REASON.items()))
def test_the_reason_decides(reason: str, kind: type[coverline.CoverlineError]) -> None:
    error = errors.from_flight(structured(reason, table="prices"))
    assert type(error) is kind
    assert (str(error), error.reason, error.details["table"]) == ("what went wrong", reason, "prices")


def test_an_overlap_has_its_numbers() -> None:
    error = errors.from_flight(
        structured(
            "COVERAGE_OVERLAP",
            code=6,
            table="prices",
            overlap_count="3",
            example_entity='symbol="NVDA"',
            bucket_start="2025-03-01T00:00:00Z",
            bucket_end="2025-03-01T01:00:00Z",
            owner_version="41",
            table_version="42",
            committed="no",
        )
    )
    assert isinstance(error, coverline.CoverageOverlapError)
    assert error.table == "prices"
    assert (error.overlap_count, error.conflict_count) == (3, 3)
    assert error.example_entity == 'symbol="NVDA"'
    assert error.example_bucket_range == ("2025-03-01T00:00:00Z", "2025-03-01T01:00:00Z")
    assert error.example_index_interval == "[2025-03-01T00:00:00Z, 2025-03-01T01:00:00Z)"
    assert (error.owner_version, error.table_version) == (41, 42)


@pytest.mark.parametrize(("said", "identical"), [({"identical": "true"}, True), ({"identical": "false"}, False), ({}, None)])
def test_an_overlap_says_whether_it_repeats_what_is_there(said: dict[str, str], identical: bool | None) -> None:
    error = errors.from_flight(structured("COVERAGE_OVERLAP", code=6, table="prices", **said))
    assert isinstance(error, coverline.CoverageOverlapError)
    assert error.identical is identical


def test_committed_unknown_is_an_unknown_outcome_whatever_the_reason() -> None:
    error = errors.from_flight(structured("INTERNAL", code=13, committed="unknown"), append_id="k")
    assert isinstance(error, coverline.UnknownOutcomeError)
    assert error.append_id == "k"


def test_a_new_reason_falls_back_on_the_code() -> None:
    assert type(errors.from_flight(structured("SOMETHING_NEW", code=5))) is coverline.NotFoundError


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (flight.FlightUnavailableError("Flight returned unavailable error, with message: gone"), coverline.UnavailableError),
        (flight.FlightUnauthenticatedError("no"), coverline.PermissionDeniedError),
        (flight.FlightTimedOutError("late"), coverline.CancelledError),
        (pa.ArrowKeyError("no table"), coverline.NotFoundError),
        (pa.ArrowNotImplementedError("no"), coverline.NotSupportedError),
        (pa.ArrowInvalid("gRPC returned precondition failed error, with message: x"), coverline.PreconditionError),
        (pa.ArrowInvalid("gRPC returned resource exhausted error, with message: x"), coverline.ExhaustedError),
        (pa.ArrowInvalid("Flight returned invalid argument error, with message: x"), coverline.InvalidInputError),
        (pa.ArrowException("Unknown: Flight returned already exists error, with message: x"), coverline.AlreadyExistsError),
        (flight.FlightInternalError("gRPC returned aborted error, with message: x"), coverline.ConflictError),
        (flight.FlightInternalError("boom"), coverline.InternalError),
    ],
)
def test_without_details_the_code_decides(raised: BaseException, kind: type[coverline.CoverlineError]) -> None:
    assert type(errors.from_flight(raised)) is kind


def test_the_trailer_tells_what_pyarrow_hides() -> None:
    trailer = structured("SCHEMA_MISMATCH", message="column \"close\"").extra_info
    error = errors.from_flight(pa.ArrowInvalid("Flight returned invalid argument error, with message: x"), trailer=trailer)
    assert type(error) is coverline.SchemaMismatchError
    assert str(error) == 'column "close"'


def test_a_query_of_a_missing_table_is_not_found() -> None:
    assert type(errors.from_flight(structured("QUERY", code=5))) is coverline.NotFoundError
    assert type(errors.from_flight(structured("QUERY", code=3))) is coverline.QueryError


def test_grpc_decoration_is_taken_off_the_message() -> None:
    raised = pa.ArrowException(
        "Unknown: Flight returned already exists error, with message: table \"t\" is there. gRPC client debug context: "
        "{...}. Client context: OK"
    )
    assert str(errors.from_flight(raised)) == 'table "t" is there'


@pytest.mark.parametrize("raised", [flight.FlightUnavailableError("gone"), flight.FlightInternalError("reset"), flight.FlightTimedOutError("late")])
def test_a_lost_acknowledgement_is_an_unknown_outcome_only_of_what_may_commit(raised: BaseException) -> None:
    after = errors.from_flight(raised, append_id="k", commit_asked=True)
    assert isinstance(after, coverline.UnknownOutcomeError)
    assert after.append_id == "k"
    assert not isinstance(errors.from_flight(raised), coverline.UnknownOutcomeError)


def test_what_was_never_sent_is_not_unknown() -> None:
    raised = flight.FlightUnavailableError("Flight returned unavailable error, with message: failed to connect to all addresses")
    assert type(errors.from_flight(raised, commit_asked=True)) is coverline.UnavailableError


def test_a_refusal_stays_a_refusal_after_the_end_was_sent() -> None:
    error = errors.from_flight(structured("CONFLICT", code=10, committed="no"), commit_asked=True)
    assert type(error) is coverline.ConflictError


def test_damaged_details_do_not_hide_the_error() -> None:
    error = errors.from_flight(flight.FlightInternalError("boom", b"\xff\xff"))
    assert isinstance(error, coverline.InternalError)
    assert "boom" in str(error)


def test_every_exception_is_a_coverline_error() -> None:
    for name in coverline.__all__:
        value = getattr(coverline, name)
        if isinstance(value, type) and issubclass(value, BaseException):
            assert issubclass(value, coverline.CoverlineError), name
