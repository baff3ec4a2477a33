"""`tests/bench/run [workload...] [--scale N] [--repeat N]`: Coverline as a server, its peers in the same run, ratios."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from pathlib import Path
from types import ModuleType

from coverline_bench.measure import Report, machine
from coverline_bench.workloads import Context

WORKLOADS = ["w1", "w2", "w3", "w4", "w5", "w6", "w7", "w8"]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"coverline_bench.workloads.{name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests/bench/run",
        description=__doc__,
        epilog="workloads:\n\n" + "\n\n".join((module(name).__doc__ or name).strip() for name in WORKLOADS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workload", nargs="*", default=WORKLOADS, help=f"any of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument(
        "--scale", type=float, default=1.0,
        help="multiplies rows, symbols, hosts, entities, appends and commits (default 1; 0.01 shows that everything works)",
    )
    parser.add_argument("--repeat", type=int, default=5, help="counted repetitions of each query (default 5, 3 at least)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.workload if name not in WORKLOADS]:
        parser.error(f"no workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    if arguments.repeat < 3 or not arguments.scale > 0:
        parser.error("a median needs three repetitions, and a scale is greater than 0")
    for name in ("COVERLINE_BIN", "QUACK_PYTHON"):
        if not Path(os.environ.get(name, "")).is_file():
            parser.error(f"the environment variable {name} names no program; tests/bench/run sets it")
    print(machine())
    print(f"scale {arguments.scale:g}, {arguments.repeat} repeats; figures are medians (least..greatest)\n")
    report = Report()
    for name in arguments.workload:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"coverline-{name}-") as folder:
            module(name).run(Context(report, Path(folder), arguments.scale, arguments.repeat))
        report.note(f"{name} took {time.monotonic() - begun:.0f} s")
    report.print()


if __name__ == "__main__":
    main()
