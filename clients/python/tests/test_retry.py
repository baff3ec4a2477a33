"""When an append is tried again, and what is raised when that did not help."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import coverline
from coverline import _retry, _sources


class Attempts:
    """Fails with each of these in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        if self.made <= len(self.errors):
            raise self.errors[self.made - 1]
        return "done"


@pytest.fixture(autouse=True)
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(_retry.time, "sleep", waited.append)
    return waited


def conflict() -> coverline.CoverlineError:
    return coverline.ConflictError("x")


def unavailable() -> coverline.CoverlineError:
    return coverline.UnavailableError("x")


def unknown() -> coverline.CoverlineError:
    return coverline.UnknownOutcomeError("lost")


@pytest.mark.parametrize("error", [conflict, unavailable])
@pytest.mark.parametrize("append_id", [None, "k"])
def test_what_was_not_committed_is_tried_again(error: Callable[[], coverline.CoverlineError], append_id: str | None) -> None:
    attempts = Attempts(error(), error())
    assert _retry.append(attempts, 2, append_id) == "done"
    assert attempts.made == 3
    attempts = Attempts(error(), error())
    with pytest.raises(type(error())):
        _retry.append(attempts, 1, append_id)
    assert attempts.made == 2


def test_a_lost_acknowledgement_is_tried_again_only_with_an_id() -> None:
    attempts = Attempts(unknown())
    assert _retry.append(attempts, 1, "k") == "done"
    attempts = Attempts(unknown())
    with pytest.raises(coverline.UnknownOutcomeError):
        _retry.append(attempts, 5, None)
    assert attempts.made == 1


@pytest.mark.parametrize(
    "later",
    [
        unavailable(),
        conflict(),
        coverline.ExhaustedError("x", reason="EXHAUSTED"),
        coverline.CorruptError("x", reason="CORRUPT"),
        coverline.InternalError("x", reason="INTERNAL"),
        coverline.PermissionDeniedError("x"),
        # From somebody else than a server of ours.
        coverline.InvalidInputError("x"),
        ValueError("x"),
        _sources.SourceError(FileNotFoundError("x")),
        # A source that reads from a server itself: what that says is not about this append.
        _sources.SourceError(coverline.NotFoundError("x", reason="NOT_FOUND")),
    ],
)
def test_what_is_open_stays_open(later: Exception) -> None:
    with pytest.raises(coverline.UnknownOutcomeError, match="lost") as caught:
        _retry.append(Attempts(unknown(), later), 1, "k")
    assert caught.value.__cause__ is (later.cause if isinstance(later, _sources.SourceError) else later)


def test_an_error_of_the_source_is_raised_as_it_is() -> None:
    for cause in (ValueError("x"), unavailable(), unknown()):
        attempts = Attempts(_sources.SourceError(cause))
        with pytest.raises(type(cause)) as caught:
            _retry.append(attempts, 5, "k")
        assert caught.value is cause
        assert attempts.made == 1


def test_an_answer_about_the_rows_settles_it() -> None:
    for kind in (
        coverline.AlreadyExistsError,
        coverline.CoverageOverlapError,
        coverline.InvalidInputError,
        coverline.NotFoundError,
        coverline.PreconditionError,
        coverline.SchemaMismatchError,
    ):
        error = kind("x", reason="X")
        attempts = Attempts(unknown(), error)
        with pytest.raises(type(error)):
            _retry.append(attempts, 5, "k")
        assert attempts.made == 2


def test_the_wait_grows_and_is_bounded(delays: list[float]) -> None:
    with pytest.raises(coverline.ConflictError):
        _retry.append(Attempts(*[conflict() for _ in range(20)]), 9, None)
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0]
