"""W2 bars: minute bars of many symbols, appended by the day; the history of one symbol, and questions about all of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

import pyarrow as pa

from coverline_bench import generate
from coverline_bench.peers import arctic, polars_
from coverline_bench.workloads import Context
from coverline_bench.workloads.stores import Stores, race

SYMBOLS = (100, 2_000)
DAYS = 5
COLUMNS = ["ts", "open", "high", "low", "close", "volume", "trades", "vwap"]

Questions = dict[str, Callable[[], pa.Table]]


def run(context: Context) -> None:
    for symbols in sorted({context.scaled(count, 10) for count in SYMBOLS}):
        bars(context, symbols)


def bars(context: Context, symbols: int) -> None:
    folder = context.folder / f"{symbols}"
    folder.mkdir(parents=True)
    with closing(Stores(folder, "bars", "1m", "symbol")) as stores:
        frames = arctic.Arctic(folder / "arctic", "ts")
        stores.appends["arcticdb"] = lambda data: frames.append_by("symbol", data)
        for day in range(DAYS):
            data = generate.bars(day, symbols)
            stores.append(data)
        stores.report_appends(context, f"W2 {symbols} symbols, append of a day", data.num_rows)
        stores.finish()
        queries(context, stores, frames, polars_.Bars(stores.parquet.folder), symbols)


def queries(context: Context, stores: Stores, frames: arctic.Arctic, lazy: polars_.Bars, symbols: int) -> None:
    """The symbols and times asked about are in the middle, where no engine has them at hand by chance."""
    symbol = generate.symbol(symbols // 2)
    day = generate.BARS_FIRST_DAY + timedelta(days=DAYS // 2)
    minute = day + timedelta(minutes=generate.OPENING_MINUTE + generate.MINUTES_PER_DAY // 2)
    next_day, next_minute = day + timedelta(days=1), minute + timedelta(minutes=1)
    columns = ", ".join(COLUMNS)
    candles = (
        "date_trunc('day', ts) AS day, FIRST(open) AS o, max(high) AS h, min(low) AS l, LAST(close) AS c, sum(volume) AS v "
        "FROM bars"
    )

    def ask(title: str, query: str, others: Questions) -> None:
        race(context, f"W2 {symbols} symbols, {title}", [stores.questions(query) | others])

    ask(
        "B1 one symbol, one day",
        f"SELECT {columns} FROM bars WHERE symbol = '{symbol}' AND {between(day, next_day)}",
        {
            "polars": lambda: lazy.symbol(symbol, COLUMNS, day, next_day),
            "arcticdb": lambda: frames.read(symbol, COLUMNS, day, next_day),
        },
    )
    ask(
        "B2 one symbol, all days",
        f"SELECT {columns} FROM bars WHERE symbol = '{symbol}'",
        {"polars": lambda: lazy.symbol(symbol, COLUMNS), "arcticdb": lambda: frames.read(symbol, COLUMNS)},
    )
    ask(
        "B3 last row of each symbol",
        "SELECT symbol, max(ts) AS last, LAST(close) AS close FROM bars GROUP BY symbol",
        {"polars": lazy.last, "arcticdb": lambda: frames.last_rows(["close"])},
    )
    ask("B4 daily candles of one symbol", f"SELECT {candles} WHERE symbol = '{symbol}' GROUP BY 1", {})
    ask("B5 daily candles of all symbols", f"SELECT symbol, {candles} GROUP BY 1, 2", {"polars": lazy.daily_candles})
    ask(
        "B6 all symbols in one minute",
        f"SELECT symbol, close, volume FROM bars WHERE {between(minute, next_minute)}",
        {"polars": lambda: lazy.cross_section(minute, next_minute)},
    )


def between(start: datetime, end: datetime) -> str:
    return f"ts >= TIMESTAMP '{start}' AND ts < TIMESTAMP '{end}'"
