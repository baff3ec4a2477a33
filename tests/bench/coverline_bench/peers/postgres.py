"""PostgreSQL as the distribution installs it, fsync on, driven over TCP by pgbench, its own client: the bar for commits."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coverline_bench.clients import Append, Outcome
from coverline_bench.measure import cpu_seconds, free_port

# The server refuses to run as root; then this user runs it.
USER = "postgres"


def find() -> Path | None:
    """The folder of `initdb` and its like, from the newest version that is installed."""
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    found = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return max(found, key=lambda file: int(file.parts[-3])).parent if found else None


class Postgres:
    """A cluster of its own, in a folder that its user may enter."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.as_user: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="coverline-postgres-"))
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        data = self.folder / "data"
        self._program("initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C", "-D", str(data))
        self.port = free_port()
        self.process = subprocess.Popen(
            [programs / "postgres", "-D", str(data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
             "-c", f"unix_socket_directories={self.folder}", "-c", "fsync=on", "-c", "synchronous_commit=on"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            **self.as_user,
        )
        deadline = time.monotonic() + 60
        while subprocess.run([programs / "pg_isready", "-q", *self._where()], check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("postgres did not start")
            time.sleep(0.05)

    def _where(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER]

    def _program(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [self.programs / name, *arguments], capture_output=True, text=True, cwd=self.folder, check=False, **self.as_user
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed: {done.stderr.strip()}")
        return done.stdout

    def create(self, table: str) -> None:
        # The key refuses a second row for the same entity and second, as the coverage of a table does.
        columns = "ts timestamp NOT NULL, entity bigint NOT NULL, value double precision, PRIMARY KEY (entity, ts)"
        self._program("psql", *self._where(), "-q", "-c", f"CREATE TABLE {table} ({columns})", "postgres")

    def one_row_appends(self, table: str, clients: int, appends: int) -> Outcome:
        """`clients` connections, each inserting `appends` rows, one in a transaction, each after the last was acknowledged."""
        script = self.folder / "append.sql"
        script.write_text(
            "\\set number :number + 1\n"
            f"INSERT INTO {table} VALUES (timestamp '1970-01-01' + :number * interval '1 second', :client_id, 0.0);\n"
        )
        prefix = self.folder / f"log-{table}"
        before = os.times()
        said = self._program(
            "pgbench", *self._where(), "-n", "-M", "prepared", "-D", "number=0", "-f", str(script), "-c", str(clients),
            "-j", str(min(clients, os.cpu_count() or 1)), "-t", str(appends), "-l", f"--log-prefix={prefix}", "postgres",
        )
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        made = [append for file in self.folder.glob(f"{prefix.name}.*") for append in _log(file.read_text().splitlines())]
        if len(made) != clients * appends:
            raise RuntimeError(f"pgbench made {len(made)} of {clients * appends} appends: {said}")
        elapsed = max(append.ended for append in made) - min(append.begun for append in made)
        return Outcome(made, [], elapsed, cpu)

    def cpu(self) -> float:
        return cpu_seconds(self.process.pid)

    def close(self) -> None:
        # The fast shutdown: clients that are still there are sent away.
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        shutil.rmtree(self.folder)


def _log(lines: Sequence[str]) -> list[Append]:
    """The transactions of a pgbench log: client, number, microseconds taken, script, and when it ended."""
    made = []
    for line in lines:
        client, _, taken, _, seconds, microseconds = line.split()[:6]
        ended = int(seconds) + int(microseconds) / 1e6
        made.append(Append(int(client), ended - int(taken) / 1e6, ended))
    return made
