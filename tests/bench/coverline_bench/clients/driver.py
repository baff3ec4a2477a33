"""The driver of `Clients`: reads jobs as lines of JSON, has its worker processes do them, answers one line each.
Clients are dealt out over the processes in turn.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

from coverline_bench.clients.worker import work

# More than one for each core, so that a process that waits for its interpreter lock leaves no core idle.
PROCESSES_PER_CORE = 4


def main() -> None:
    kind, address, clients = sys.argv[1], sys.argv[2], int(sys.argv[3])
    spawn = multiprocessing.get_context("spawn")
    processes = min(clients, PROCESSES_PER_CORE * (os.cpu_count() or 1))
    barrier = spawn.Barrier(processes)
    pipes = []
    for index in range(processes):
        ours, theirs = spawn.Pipe()
        spawn.Process(
            target=work, args=(theirs, barrier, kind, address, range(index, clients, processes)), daemon=True
        ).start()
        theirs.close()
        pipes.append(ours)
    answer(pipes)
    for line in sys.stdin:
        for pipe in pipes:
            pipe.send(json.loads(line))
        answer(pipes)


def answer(pipes: list[Connection]) -> None:
    """Prints what all workers answered as one line."""
    parts = [receive(pipe) for pipe in pipes]
    errors = [part["error"] for part in parts if "error" in part]
    if errors:
        print(json.dumps({"error": errors[0]}), flush=True)
        return
    # The writers decide how long a job lasts; a reader finishes what it has begun.
    ends = [ended for part in parts for _, _, ended in part["appends"]]
    whole = {
        "appends": [append for part in parts for append in part["appends"]],
        "reads": [read for part in parts for read in part["reads"]],
        "elapsed": max(ends) - min(part["begun"] for part in parts) if ends else 0.0,
        "client_cpu": sum(part["cpu"] for part in parts),
    }
    print(json.dumps(whole), flush=True)


def receive(pipe: Connection) -> dict[str, Any]:
    try:
        return pipe.recv()
    except EOFError:
        return {"error": "a worker process ended; what it said is above"}


if __name__ == "__main__":
    main()
