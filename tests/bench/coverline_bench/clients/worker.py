"""One process of clients: each client is a thread with a connection of its own. What a writer sends is made before the common
start, so that from then on a client does nothing but send and wait.
"""

from __future__ import annotations

import importlib
import threading
import time
import traceback
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

# How long a process may take to get ready, seconds.
READY_TIMEOUT = 120.0


def work(pipe: Connection, barrier: Barrier, kind: str, address: str, mine: range) -> None:
    """One worker process: connects its clients, then does its part of each job."""
    try:
        connect = importlib.import_module(f"coverline_bench.clients.{kind}").connect
        connections = {client: connect(address) for client in mine}
        pipe.send({"appends": [], "reads": [], "begun": 0.0, "cpu": 0.0})
    except Exception:
        pipe.send({"error": traceback.format_exc()})
        return
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(part(job, connections, barrier))
        except Exception:
            barrier.abort()
            pipe.send({"error": traceback.format_exc()})


def part(job: dict[str, Any], connections: dict[int, Any], barrier: Barrier) -> dict[str, Any]:
    """The clients from 0 on write, the ones after those read; the rest of the connections stay idle."""
    writers = {client: connection for client, connection in connections.items() if client < job["writers"]}
    readers = {
        client: connection
        for client, connection in connections.items()
        if job["writers"] <= client < job["writers"] + job["readers"]
    }
    for connection in (*writers.values(), *readers.values()):
        connection.begin()
    for connection in readers.values():
        connection.counts(job["table"])
    gate = threading.Barrier(len(writers) + len(readers) + 1)
    appends: list[tuple[int, float, float]] = []
    reads: list[tuple[float, float, list[tuple[int, int]]]] = []
    errors: list[str] = []
    # A reader does not see the writers of the other processes, but all writers are due to end at the same time.
    length = job["interval"] * job["appends"]

    def write(client: int, connection: Any) -> None:
        payloads = [
            connection.payload(job["table"], client, number * job["rows"], job["rows"]) for number in range(job["appends"])
        ]
        gate.wait(READY_TIMEOUT)
        gate.wait(READY_TIMEOUT)
        due = time.monotonic()
        for payload in payloads:
            if job["interval"]:
                time.sleep(max(0.0, due - time.monotonic()))
                due += job["interval"]
            begun = time.monotonic()
            connection.append(payload)
            appends.append((client, begun, time.monotonic()))

    def read(connection: Any) -> None:
        gate.wait(READY_TIMEOUT)
        gate.wait(READY_TIMEOUT)
        end = time.monotonic() + length
        while (begun := time.monotonic()) < end:
            counts = connection.counts(job["table"])
            reads.append((begun, time.monotonic(), counts))

    def guarded(action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception:
            # The first error is the one to tell; the others only found the gate broken.
            errors.append(traceback.format_exc())
            gate.abort()

    threads = [threading.Thread(target=guarded, args=(write, *writer)) for writer in writers.items()]
    threads += [threading.Thread(target=guarded, args=(read, reader)) for reader in readers.values()]
    for thread in threads:
        thread.start()
    try:
        # First all clients of this process are ready, then all processes; then this process lets its clients go.
        gate.wait(READY_TIMEOUT)
        barrier.wait(READY_TIMEOUT)
        begun, cpu = time.monotonic(), time.process_time()
        gate.wait(READY_TIMEOUT)
    except threading.BrokenBarrierError:
        errors.append("another client did not get ready")
        gate.abort()
        begun, cpu = 0.0, 0.0
    for thread in threads:
        thread.join()
    if errors:
        barrier.abort()
        return {"error": errors[0]}
    return {"appends": appends, "reads": reads, "begun": begun, "cpu": time.process_time() - cpu}
