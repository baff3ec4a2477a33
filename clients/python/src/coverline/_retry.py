"""Trying an append again, where that can do no harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .errors import ConflictError, ExhaustedError, UnavailableError, UnknownOutcomeError

FIRST_DELAY_SECONDS = 0.2
DELAY_SECONDS_MAX = 5.0

T = TypeVar("T")


def append(attempt: Callable[[], T], retries: int, append_id: str | None) -> T:
    """Calls `attempt` until it succeeds, at most `retries` times more.

    A conflict, or a server that cannot take it now, says that nothing was committed. A lost acknowledgement does not, so it is only
    tried again under an append id. Once one was lost, errors that tell nothing of the rows leave it open: then the lost one is
    raised.
    """
    lost: UnknownOutcomeError | None = None
    delay = FIRST_DELAY_SECONDS
    for left in range(retries, -1, -1):
        try:
            return attempt()
        except UnknownOutcomeError as error:
            lost = error
            if left == 0 or append_id is None:
                raise
        except (ConflictError, UnavailableError, ExhaustedError) as error:
            if left == 0 or isinstance(error, ExhaustedError):
                if lost is not None:
                    raise lost from error
                raise
        time.sleep(delay)
        delay = min(2 * delay, DELAY_SECONDS_MAX)
    raise AssertionError("the last attempt returns or raises")
