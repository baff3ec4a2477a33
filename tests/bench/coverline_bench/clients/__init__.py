"""Many clients of one server, spread over processes of their own so that no interpreter lock is what gets measured.

`Clients` starts a driver (`python -m coverline_bench.clients.driver KIND ADDRESS COUNT`) in whichever Python environment the client
library of that server lives in. The driver keeps a fixed set of worker processes with open connections; each job says how many
clients write and read, and what. This file needs nothing but the standard library, since it is loaded in both environments.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

# The folder that `coverline_bench` is imported from.
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """What the clients do at once, from a common start."""

    table: str
    # Clients that append, each to an entity of its own, numbered from 0.
    writers: int
    # Rows of each append.
    rows: int
    # Appends of each writer; the job is over when the last one is acknowledged.
    appends: int
    # Clients that count rows by entity, over and over, until the writers are through.
    readers: int = 0
    # Seconds between the starts of a writer's appends; 0: the next one starts when the last is acknowledged.
    interval: float = 0.0


@dataclass(frozen=True)
class Append:
    """One acknowledged append. Times are seconds on the machine's monotonic clock, the same in all processes."""

    entity: int
    begun: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


@dataclass(frozen=True)
class Read:
    """One answered count by entity."""

    begun: float
    ended: float
    # Rows of each entity that has any.
    counts: dict[int, int]

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    appends: list[Append]
    reads: list[Read]
    # From the common start to the last acknowledgement.
    elapsed: float
    # Processor seconds of all client processes within that time.
    client_cpu: float

    @property
    def appends_per_second(self) -> float:
        return len(self.appends) / self.elapsed


class Clients:
    """Connections to one server, ready to be given jobs."""

    def __init__(self, python: str, kind: str, address: str, clients: int) -> None:
        self.driver = subprocess.Popen(
            [python, "-m", "coverline_bench.clients.driver", kind, address, str(clients)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PACKAGE_ROOT,
        )
        self._answer()

    def run(self, job: Job) -> Outcome:
        assert self.driver.stdin is not None
        self.driver.stdin.write(json.dumps(asdict(job)) + "\n")
        self.driver.stdin.flush()
        answer = self._answer()
        return Outcome(
            [Append(*values) for values in answer["appends"]],
            [Read(begun, ended, {int(entity): rows for entity, rows in counts}) for begun, ended, counts in answer["reads"]],
            answer["elapsed"],
            answer["client_cpu"],
        )

    def _answer(self) -> dict:
        assert self.driver.stdout is not None
        line = self.driver.stdout.readline()
        if not line:
            raise RuntimeError(f"the client driver ended with code {self.driver.wait()}; what it said is above")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"a client: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends the driver, which ends its workers."""
        assert self.driver.stdin is not None
        self.driver.stdin.close()
        self.driver.wait()
