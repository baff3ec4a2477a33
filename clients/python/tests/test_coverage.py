"""What is there, what is missing and what was known when, through the Python client."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

import coverline

UTC = datetime.timezone.utc
DAY = datetime.datetime(2026, 3, 1, tzinfo=UTC)


def rows(symbol: str, *hours: int) -> pa.Table:
    times = [DAY + datetime.timedelta(hours=hour, minutes=5) for hour in hours]
    return pa.table({"ts": pa.array(times, pa.timestamp("us", "UTC")), "symbol": [symbol] * len(times)})


@pytest.fixture
def known(prices: coverline.Table) -> coverline.Table:
    """Version 2 has A at 0 h and 2 h, version 3 has B at 0 h too."""
    prices.append(rows("A", 0, 2))
    prices.append(rows("B", 0))
    return prices


def test_what_each_entity_has(known: coverline.Table) -> None:
    end = DAY + datetime.timedelta(hours=3)
    assert known.completeness(DAY, end).to_pylist() == [
        {"symbol": "A", "expected": 3, "present": 2, "ratio": 2 / 3, "complete_until": DAY + datetime.timedelta(hours=1)},
        {"symbol": "B", "expected": 3, "present": 1, "ratio": 1 / 3, "complete_until": DAY + datetime.timedelta(hours=1)},
    ]
    assert known.covers(DAY, DAY + datetime.timedelta(hours=1)) is True
    assert known.covers(DAY, end) is False
    assert [(row["symbol"], row["rows"]) for row in known.entities().to_pylist()] == [("A", 2), ("B", 1)]
    assert [row["rows_added"] for row in known.history().to_pylist()] == [0, 2, 1]


def test_what_was_known_when(known: coverline.Table) -> None:
    assert known.coverage(version=2).num_rows == 2
    assert known.entities(version=2)["symbol"].to_pylist() == ["A"]
    assert known.covers(DAY, DAY + datetime.timedelta(hours=3), version=1) is False
    second = known.history()["commit_time"][1].as_py()
    assert known.coverage(at=second).num_rows == 2
    assert known.gaps(DAY, DAY + datetime.timedelta(hours=3), at=second.isoformat()).num_rows == 1
    with pytest.raises(coverline.InvalidInputError, match="not both"):
        known.gaps(version=2, at=second)
    with pytest.raises(coverline.NotFoundError, match="its versions are 1 to 3"):
        known.coverage(version=9)
    with pytest.raises(coverline.NotFoundError, match="the oldest is of"):
        known.coverage(at="1999-12-31")
