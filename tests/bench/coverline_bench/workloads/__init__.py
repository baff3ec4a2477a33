"""One file per workload: `run(context)` adds rows to the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coverline_bench.measure import Report


@dataclass
class Context:
    report: Report
    # Fresh folder of this workload; removed afterwards.
    folder: Path
    # Multiplies row and commit counts; 1 is the size of the design.
    scale: float
    # Counted repetitions of a query.
    repeat: int

    def scaled(self, count: int, least: int = 1) -> int:
        return max(least, int(count * self.scale))
