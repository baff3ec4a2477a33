"""DuckDB's server (quack), the rival that also crosses a network. Lives in an environment of its own, since its extension
needs DuckDB 1.5."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

SCRIPT = r"""
import json, sys, threading, time, socket
import duckdb
from importlib import resources

def extension(package, name):
    root = resources.files(package) / "extensions"
    for version in root.iterdir():
        return str(version / f"{name}.duckdb_extension")

def connect(file=":memory:"):
    connection = duckdb.connect(file, config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{extension('duckdb_extension_httpfs', 'httpfs')}'")
    connection.execute(f"LOAD '{extension('duckdb_extension_quack', 'quack')}'")
    return connection

folder, clients, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
if len(sys.argv) > 4:
    server = connect(folder + "/quack.duckdb")
    server.execute("CREATE TABLE t (ts TIMESTAMP, entity BIGINT, value DOUBLE)")
    server.execute(f"CALL quack_serve('quack:localhost:{sys.argv[4]}', token => 'benchmark')")
    print("ready", flush=True)
    sys.stdin.read()
    sys.exit()

import subprocess
child = subprocess.Popen([sys.executable, "-c", open(folder + "/quack.py").read(), folder, "0", "0", str(port)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert child.stdout.readline().strip() == "ready"
latencies = []
counts = [0] * clients
deadline = [0.0]

def work(index):
    connection = connect()
    connection.execute("CREATE SECRET (TYPE quack, TOKEN 'benchmark')")
    connection.execute(f"ATTACH 'quack:localhost:{port}' AS remote")
    barrier.wait()
    while time.perf_counter() < deadline[0]:
        begun = time.perf_counter()
        connection.execute(
            f"INSERT INTO remote.t VALUES (TIMESTAMP '2024-01-01' + INTERVAL ({counts[index]}) SECOND, {index}, 1.0)")
        latencies.append(time.perf_counter() - begun)
        counts[index] += 1

def begin():
    deadline[0] = time.perf_counter() + seconds

barrier = threading.Barrier(clients, action=begin)
threads = [threading.Thread(target=work, args=(index,)) for index in range(clients)]
for thread in threads: thread.start()
for thread in threads: thread.join()
child.kill()
print(json.dumps({"appends_per_second": sum(counts) / seconds, "p50": sorted(latencies)[len(latencies) // 2]}))
"""


def one_row_appends(folder: Path, clients: int, seconds: float) -> dict[str, float]:
    """Appends per second and median latency of `clients` connections, each inserting one row at a time."""
    folder.mkdir(parents=True)
    (folder / "quack.py").write_text(SCRIPT)
    output = subprocess.check_output(
        [os.environ["QUACK_PYTHON"], "-c", SCRIPT, str(folder), str(clients), str(seconds)], text=True
    )
    return json.loads(output.splitlines()[-1])
