"""Timing, medians and the tables that are printed. Only ratios within one run mean anything."""

from __future__ import annotations

import math
import os
import platform
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Spread:
    """A figure that was taken several times: the median, and the least and the greatest."""

    median: float
    least: float
    greatest: float

    def scaled(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.least * factor, self.greatest * factor)

    def __str__(self) -> str:
        if self.least == self.greatest:
            return f"{self.median:.4g}"
        return f"{self.median:.4g} ({self.least:.3g}..{self.greatest:.3g})"


def spread(values: Iterable[float]) -> Spread:
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


def exactly(value: float) -> Spread:
    """A figure that was taken once, or a bound."""
    return Spread(value, value, value)


# Latencies taken in a row are cut into so many repeats, so that their percentiles have a spread.
CHUNKS = 3


def chunked(values: Sequence[float], figure: Callable[[Sequence[float]], float] = statistics.median) -> Spread:
    """`figure` of each third of `values`, which were taken in this order."""
    length = max(1, len(values) // CHUNKS)
    return spread(figure(values[start : start + length]) for start in range(0, length * min(CHUNKS, len(values)), length))


@dataclass
class Row:
    """One figure of one workload: ours, the peers', and the target for the ratio of the medians."""

    name: str
    unit: str
    ours: Spread
    peers: dict[str, Spread]
    # The peer that the target speaks of; None when there is no target.
    against: str | None = None
    # "<=" or ">=" and a number.
    target: tuple[str, float] | None = None

    @property
    def ratio(self) -> float | None:
        if self.against is None or self.against not in self.peers:
            return None
        peer = self.peers[self.against].median
        return self.ours.median / peer if peer else math.nan

    @property
    def verdict(self) -> str:
        if self.target is None or self.ratio is None or math.isnan(self.ratio):
            return ""
        sign, bound = self.target
        met = self.ratio <= bound if sign == "<=" else self.ratio >= bound
        return f"{sign} {bound:g} {'met' if met else 'MISSED'}"


@dataclass
class Report:
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(format_rows([row], header=len(self.rows) == 1), flush=True)

    def note(self, text: str) -> None:
        """A line below the table: who was busy, and which peer is missing and why."""
        self.notes.append(text)
        print(f"  note: {text}", flush=True)

    def print(self) -> None:
        print("\n" + format_rows(self.rows, header=True))
        if self.notes:
            print("\n" + "\n".join(f"- {note}" for note in self.notes))


def format_rows(rows: Sequence[Row], header: bool) -> str:
    lines = []
    if header:
        lines.append("| figure | unit | coverline | peers | ratio | target |")
        lines.append("|---|---|---|---|---|---|")
    for row in rows:
        peers = ", ".join(f"{name} {value}" for name, value in row.peers.items())
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} x {row.against}"
        lines.append(f"| {row.name} | {row.unit} | {row.ours} | {peers} | {ratio} | {row.verdict} |")
    return "\n".join(lines)


def machine() -> str:
    """The head of a report: what it ran on, and how busy that was with other things."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{model} ({platform.machine()}), {len(os.sched_getaffinity(0))} cores, {gibibytes:.0f} GiB, Linux {platform.release()}, "
        f"load {load} over 1/5/15 min"
    )


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def interleaved(actions: dict[str, Callable[[], object]], repeat: int, warmup: int = 1) -> dict[str, Spread]:
    """Seconds of each action, run in turn (A B C A B C ...), so that a drifting machine hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(warmup + repeat):
        for name, action in actions.items():
            elapsed = seconds(action)
            if turn >= warmup:
                taken[name].append(elapsed)
    return {name: spread(values) for name, values in taken.items()}


def best(taken: dict[str, Spread], *names: str) -> Spread:
    """The least of some of these figures, by the median."""
    return min((taken[name] for name in names), key=lambda value: value.median)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def p99(values: Sequence[float]) -> float:
    return percentile(values, 99)


def cpu_seconds(pid: int) -> float:
    """Processor time, user and system, that a process, its living descendants and those it has waited for have used."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name of the command may hold blanks; what follows its bracket starts at field 3, the state.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            ticks[int(entry.name)] = sum(int(value) for value in fields[11:15])
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        total += ticks.get(process, 0)
        waiting.extend(children.get(process, []))
    return total / os.sysconf("SC_CLK_TCK")


def peak_rss(pid: int) -> int:
    """The most resident bytes that a process has had. Not by getrusage: its peak is inherited from the process that forked."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no memory: it has ended")


def disk_bytes(path: Path) -> int:
    """Bytes that the files of a folder, or one file, take up on the disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago, for servers that cannot pick one and say which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
