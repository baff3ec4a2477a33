"""W3 devops: the cpu-only case of TSBS. Ten metrics of many hosts every ten seconds, appended by the hour, and its fifteen kinds
of query in SQL, each with several seeded choices of hosts and times. The tags of a host other than its name, which no query
asks about, are left out."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

from coverline_bench import generate
from coverline_bench.workloads import Context
from coverline_bench.workloads.stores import Stores, race

HOSTS = 400
HOURS = 24
# The most hosts that a query names.
HOSTS_LEAST = 8
LONG_WINDOW = 12
HIGH = 90.0


class Choices:
    """Hosts and times at random, the same ones in every run."""

    def __init__(self, query: str, number: int, hosts: int) -> None:
        self.random = random.Random(f"{generate.SEED} {query} {number}")
        self.hosts = hosts

    def where_hosts(self, count: int) -> str:
        names = ", ".join(f"'{generate.host(number)}'" for number in self.random.sample(range(self.hosts), count))
        return f"hostname IN ({names})"

    def instant(self, from_hour: int = 0, before_end: int = 0) -> datetime:
        seconds = self.random.randrange(from_hour * 3_600, (HOURS - before_end) * 3_600 + 1)
        return generate.READINGS_START + timedelta(seconds=seconds)

    def where_time(self, hours: int) -> str:
        start = self.instant(before_end=hours)
        return f"ts >= TIMESTAMP '{start}' AND ts < TIMESTAMP '{start + timedelta(hours=hours)}'"


def each(aggregate: str, count: int) -> str:
    return ", ".join(f"{aggregate}({metric}) AS {aggregate}_{metric}" for metric in generate.METRICS[:count])


def single_groupby(metrics: int, hosts: int, hours: int) -> Callable[[Choices], str]:
    """The maximum of some metrics in every minute, over some hosts."""
    return lambda choices: (
        f"SELECT date_trunc('minute', ts) AS minute, {each('max', metrics)} FROM cpu "
        f"WHERE {choices.where_hosts(hosts)} AND {choices.where_time(hours)} GROUP BY 1"
    )


def cpu_max_all(hosts: int) -> Callable[[Choices], str]:
    """The maximum of all metrics in every hour of eight, over some hosts."""
    return lambda choices: (
        f"SELECT date_trunc('hour', ts) AS hour, {each('max', len(generate.METRICS))} FROM cpu "
        f"WHERE {choices.where_hosts(hosts)} AND {choices.where_time(8)} GROUP BY 1"
    )


def double_groupby(metrics: int) -> Callable[[Choices], str]:
    """The mean of some metrics for each host in every hour."""
    return lambda choices: (
        f"SELECT date_trunc('hour', ts) AS hour, hostname, {each('avg', metrics)} FROM cpu "
        f"WHERE {choices.where_time(LONG_WINDOW)} GROUP BY 1, 2"
    )


def high_cpu(choices: Choices, hosts: str = "") -> str:
    """All readings of a busy host, or of all busy hosts."""
    return f"SELECT * FROM cpu WHERE usage_user > {HIGH} AND {choices.where_time(LONG_WINDOW)}{hosts}"


def lastpoint(_: Choices) -> str:
    """The last reading of each host."""
    metrics = ", ".join(f"LAST({metric}) AS {metric}" for metric in generate.METRICS)
    return f"SELECT hostname, max(ts) AS last, {metrics} FROM cpu GROUP BY hostname"


def groupby_orderby_limit(choices: Choices) -> str:
    """The last five minutes before an instant."""
    end = choices.instant(from_hour=1)
    return (
        f"SELECT date_trunc('minute', ts) AS minute, max(usage_user) AS busiest FROM cpu WHERE ts < TIMESTAMP '{end}' "
        "GROUP BY 1 ORDER BY 1 DESC LIMIT 5"
    )


QUERIES: dict[str, Callable[[Choices], str]] = {
    "single-groupby-1-1-1": single_groupby(1, 1, 1),
    "single-groupby-1-1-12": single_groupby(1, 1, 12),
    "single-groupby-1-8-1": single_groupby(1, 8, 1),
    "single-groupby-5-1-1": single_groupby(5, 1, 1),
    "single-groupby-5-1-12": single_groupby(5, 1, 12),
    "single-groupby-5-8-1": single_groupby(5, 8, 1),
    "cpu-max-all-1": cpu_max_all(1),
    "cpu-max-all-8": cpu_max_all(8),
    "double-groupby-1": double_groupby(1),
    "double-groupby-5": double_groupby(5),
    "double-groupby-all": double_groupby(len(generate.METRICS)),
    "high-cpu-all": high_cpu,
    "high-cpu-1": lambda choices: high_cpu(choices, f" AND {choices.where_hosts(1)}"),
    "lastpoint": lastpoint,
    "groupby-orderby-limit": groupby_orderby_limit,
}


def run(context: Context) -> None:
    hosts = context.scaled(HOSTS, HOSTS_LEAST)
    with closing(Stores(context.folder, "cpu", "1s", "hostname")) as stores:
        for hour in range(HOURS):
            data = generate.readings(hour, hosts)
            stores.append(data)
        stores.report_appends(context, f"W3 {hosts} hosts, append of an hour", data.num_rows)
        stores.finish()
        for name, query in QUERIES.items():
            choices = [stores.questions(query(Choices(name, number, hosts))) for number in range(context.repeat)]
            race(context, f"W3 {name}", choices)
