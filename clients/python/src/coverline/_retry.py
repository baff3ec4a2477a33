"""Trying an append again, where that can do no harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ._sources import SourceError
from .errors import (
    AlreadyExistsError,
    ConflictError,
    CoverageOverlapError,
    InvalidInputError,
    NotFoundError,
    PreconditionError,
    SchemaMismatchError,
    UnavailableError,
    UnknownOutcomeError,
)

FIRST_DELAY_SECONDS = 0.2
DELAY_SECONDS_MAX = 5.0

# What a server says of the rows themselves. Under an append id that settles an earlier try too: had it been committed, its receipt
# would have come back.
_ABOUT_ROWS = (
    AlreadyExistsError,
    CoverageOverlapError,
    InvalidInputError,
    NotFoundError,
    PreconditionError,
    SchemaMismatchError,
)

T = TypeVar("T")


def append(attempt: Callable[[], T], retries: int, append_id: str | None) -> T:
    """Calls `attempt` until it succeeds, at most `retries` times more.

    A conflict, or a server that cannot take it now, says that nothing was committed. A lost acknowledgement does not, so it is only
    tried again under an append id. Once one was lost, only what the server says of the rows settles it; after any other error, of
    the source, of the server's disk or of a damaged table, the lost one is raised.
    """
    lost: UnknownOutcomeError | None = None
    delay = FIRST_DELAY_SECONDS
    for left in range(retries, -1, -1):
        try:
            return attempt()
        except SourceError as failed:
            if lost is not None:
                raise lost from failed.cause
            raise failed.cause from None
        except UnknownOutcomeError as error:
            lost = error
            if left == 0 or append_id is None:
                raise
        except Exception as error:
            if not (left > 0 and isinstance(error, (ConflictError, UnavailableError))):
                if lost is None or _settles(error):
                    raise
                raise lost from error
        time.sleep(delay)
        delay = min(2 * delay, DELAY_SECONDS_MAX)
    raise AssertionError("the last attempt returns or raises")


def _settles(error: Exception) -> bool:
    # Without a reason it is not a server of ours that says so.
    return isinstance(error, _ABOUT_ROWS) and error.reason != ""
