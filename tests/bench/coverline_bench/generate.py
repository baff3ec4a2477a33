"""Workload data from a seed. Any day of any workload regenerates alone: the random stream is keyed by (seed, day)."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa

SEED = 20260821
DAY_US = 86_400_000_000
# 2024-04-24T00:00Z, so that a first week of May lies within the default 14 days.
TRIPS_FIRST_DAY_US = 1_713_916_800_000_000

# Trading days of the bars, one after the other, each from 09:30 to 16:00.
BARS_FIRST_DAY = datetime(2024, 5, 6)
OPENING_MINUTE = 9 * 60 + 30
MINUTES_PER_DAY = 390

# Readings of the hosts, one each in ten seconds.
READINGS_START = datetime(2024, 1, 1)
READING_SECONDS = 10
METRICS = [
    f"usage_{name}"
    for name in ("user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
]


def _random(seed: int, day: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, day]))


def _flags(random: np.random.Generator, rows: int, yes: float) -> pa.Array:
    return pa.array(np.where(random.random(rows) < yes, "Y", "N"), pa.string())


def trips(day: int, rows: int, seed: int = SEED) -> pa.Table:
    """One day of trips, ordered by request time: the 24 columns of the high-volume for-hire records, and `slot`, the rank
    within the second, which makes (slot, second) unique for peers that allow one row per entity and interval."""
    random = _random(seed, day)
    seconds = np.sort(random.integers(0, 86_400, rows))
    first = np.concatenate([[True], seconds[1:] != seconds[:-1]])
    starts = np.flatnonzero(first)
    slot = np.arange(rows) - np.repeat(starts, np.diff(np.append(starts, rows)))
    request = TRIPS_FIRST_DAY_US + day * DAY_US + seconds * 1_000_000
    wait = random.integers(60, 900, rows) * 1_000_000
    trip_time = random.integers(180, 4_000, rows)
    pickup = request + wait
    fare = np.round(random.gamma(3.0, 8.0, rows), 2)
    license_number = np.array(["HV0003", "HV0005"])[(random.random(rows) < 0.27).astype(int)]
    bases = np.array([f"B{number:05d}" for number in range(2_764, 2_800)])
    base = bases[random.integers(0, len(bases), rows)]

    def timestamp(values: np.ndarray) -> pa.Array:
        return pa.array(values, pa.timestamp("us"))

    def money(scale: float) -> pa.Array:
        return pa.array(np.round(fare * scale, 2))

    return pa.table(
        {
            "request_datetime": timestamp(request),
            "slot": pa.array(slot, pa.int64()),
            "hvfhs_license_num": pa.array(license_number, pa.string()),
            "dispatching_base_num": pa.array(base, pa.string()),
            "originating_base_num": pa.array(base, pa.string(), mask=random.random(rows) < 0.27),
            "on_scene_datetime": timestamp(pickup - 30_000_000),
            "pickup_datetime": timestamp(pickup),
            "dropoff_datetime": timestamp(pickup + trip_time * 1_000_000),
            "PULocationID": pa.array(random.integers(1, 266, rows), pa.int32()),
            "DOLocationID": pa.array(random.integers(1, 266, rows), pa.int32()),
            "trip_miles": pa.array(np.round(random.gamma(1.5, 3.3, rows), 3)),
            "trip_time": pa.array(trip_time, pa.int64()),
            "base_passenger_fare": pa.array(fare),
            "tolls": money(0.05),
            "bcf": money(0.0275),
            "sales_tax": money(0.08875),
            "congestion_surcharge": pa.array(np.where(random.random(rows) < 0.4, 2.75, 0.0)),
            "airport_fee": pa.array(np.where(random.random(rows) < 0.08, 2.5, 0.0)),
            "tips": pa.array(np.where(random.random(rows) < 0.2, np.round(fare * 0.2, 2), 0.0)),
            "driver_pay": money(0.75),
            "shared_request_flag": _flags(random, rows, 0.02),
            "shared_match_flag": _flags(random, rows, 0.01),
            "access_a_ride_flag": _flags(random, rows, 0.01),
            "wav_request_flag": _flags(random, rows, 0.005),
            "wav_match_flag": _flags(random, rows, 0.07),
        }
    )


def symbol(number: int) -> str:
    return f"S{number:05d}"


def bars(day: int, symbols: int, seed: int = SEED) -> pa.Table:
    """One day of minute bars, as they arrive: all symbols of a minute, then those of the next."""
    random = _random(seed, day)
    shape = (MINUTES_PER_DAY, symbols)
    first = np.datetime64(BARS_FIRST_DAY, "us").astype(np.int64) + day * DAY_US + OPENING_MINUTE * 60_000_000
    minutes = first + np.arange(MINUTES_PER_DAY) * 60_000_000
    start = random.gamma(4.0, 30.0, symbols) + 1.0
    close = start * np.exp(np.cumsum(random.normal(0.0, 0.0008, shape), axis=0))
    opening = np.vstack([start, close[:-1]])
    spread = np.abs(random.normal(0.0, 0.0004, shape)) * close
    high = np.maximum(opening, close) + spread
    low = np.minimum(opening, close) - spread
    trades = random.integers(1, 400, shape)

    def price(values: np.ndarray) -> pa.Array:
        return pa.array(np.round(values, 2).ravel())

    return pa.table(
        {
            "ts": pa.array(np.repeat(minutes, symbols), pa.timestamp("us")),
            "symbol": pa.array(np.tile([symbol(number) for number in range(symbols)], MINUTES_PER_DAY), pa.string()),
            "open": price(opening),
            "high": price(high),
            "low": price(low),
            "close": price(close),
            "volume": pa.array((trades * random.integers(1, 300, shape)).ravel(), pa.int64()),
            "trades": pa.array(trades.ravel(), pa.int32()),
            "vwap": price((high + low + close) / 3.0),
        }
    )


def host(number: int) -> str:
    return f"host_{number}"


def readings(hour: int, hosts: int, seed: int = SEED) -> pa.Table:
    """One hour of processor metrics: all hosts of an instant, then those of the next. Each metric of each host walks in steps
    of about one between 0 and 100, in whole numbers, as the generator of TSBS has it."""
    random = _random(seed, hour)
    instants = 3_600 // READING_SECONDS
    first = np.datetime64(READINGS_START, "us").astype(np.int64) + hour * 3_600_000_000
    ts = first + np.arange(instants) * READING_SECONDS * 1_000_000
    columns: dict[str, pa.Array] = {
        "ts": pa.array(np.repeat(ts, hosts), pa.timestamp("us")),
        "hostname": pa.array(np.tile([host(number) for number in range(hosts)], instants), pa.string()),
    }
    for metric in METRICS:
        walk = random.uniform(0.0, 100.0, hosts) + np.cumsum(random.normal(0.0, 1.0, (instants, hosts)), axis=0)
        # Reflected at the bounds, so that no value piles up there.
        folded = np.abs((walk + 100.0) % 200.0 - 100.0)
        columns[metric] = pa.array(np.round(folded).ravel())
    return pa.table(columns)


def small(first_second: int, rows: int, entity: int = 0) -> pa.Table:
    """One small append: `rows` seconds of one entity from `first_second` on."""
    ts = (np.arange(rows, dtype=np.int64) + first_second) * 1_000_000
    return pa.table(
        {
            "ts": pa.array(ts, pa.timestamp("us")),
            "entity": pa.array(np.full(rows, entity), pa.int64()),
            "value": pa.array(np.arange(rows, dtype=np.float64)),
        }
    )


def entities(count: int, second: int) -> pa.Table:
    """One row for each of `count` entities, all in the same second."""
    return pa.table(
        {
            "ts": pa.array(np.full(count, second * 1_000_000), pa.timestamp("us")),
            "entity": pa.array(np.arange(count), pa.int64()),
            "value": pa.array(np.arange(count, dtype=np.float64)),
        }
    )
