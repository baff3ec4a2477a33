"""`tests/bench/run [workload...] [--scale N] [--repeat N]`."""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

from coverline_bench.measure import Report, machine
from coverline_bench.workloads import Context

WORKLOADS = ["w1", "w2", "w3", "w4", "w5", "w6"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("workload", nargs="*", default=WORKLOADS, help=f"any of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies row and commit counts (default 1)")
    parser.add_argument("--repeat", type=int, default=5, help="counted repetitions of each query (default 5)")
    arguments = parser.parse_args()
    print(machine())
    print(f"scale {arguments.scale:g}, {arguments.repeat} repeats; figures are medians (least..greatest)\n")
    report = Report()
    for name in arguments.workload:
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
        with tempfile.TemporaryDirectory(prefix=f"coverline-{name}-") as folder:
            importlib.import_module(f"coverline_bench.workloads.{name}").run(
                Context(report, Path(folder), arguments.scale, arguments.repeat)
            )
    report.print()


if __name__ == "__main__":
    main()
