"""Timing, medians and the tables that are printed. Only ratios within one run mean anything."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Row:
    """One figure of one workload: ours, the peers', and the target for the ratio."""

    name: str
    unit: str
    ours: float
    peers: dict[str, float]
    # The peer that the target speaks of; None when there is no target.
    against: str | None = None
    # "<=" or ">=" and a number.
    target: tuple[str, float] | None = None

    @property
    def ratio(self) -> float | None:
        if self.against is None or self.against not in self.peers:
            return None
        return self.ours / self.peers[self.against]

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

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(format_rows([row], header=len(self.rows) == 1), flush=True)

    def print(self) -> None:
        print("\n" + format_rows(self.rows, header=True))


def format_rows(rows: Sequence[Row], header: bool) -> str:
    lines = []
    if header:
        lines.append("| figure | unit | coverline | peers | ratio | target |")
        lines.append("|---|---|---|---|---|---|")
    for row in rows:
        peers = ", ".join(f"{name} {value:.4g}" for name, value in row.peers.items())
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} x {row.against}"
        lines.append(f"| {row.name} | {row.unit} | {row.ours:.4g} | {peers} | {ratio} | {row.verdict} |")
    return "\n".join(lines)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def interleaved(actions: dict[str, Callable[[], object]], repeat: int, warmup: int = 1) -> dict[str, float]:
    """Median seconds of each action, run in turn (A B C A B C ...), so that a drifting machine hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(warmup + repeat):
        for name, action in actions.items():
            elapsed = seconds(action)
            if turn >= warmup:
                taken[name].append(elapsed)
    return {name: statistics.median(values) for name, values in taken.items()}


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
