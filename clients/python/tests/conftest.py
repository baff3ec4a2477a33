"""A real server for every test that needs one: the binary that COVERLINE_BIN names, on a free port, over an empty folder."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import coverline

READY_SECONDS_MAX = 60.0


def binary() -> str:
    """The binary under test. A missing one is a failure: a suite that skips itself proves nothing."""
    path = os.environ.get("COVERLINE_BIN", "")
    if not os.access(path, os.X_OK):
        pytest.fail(
            f'COVERLINE_BIN is "{path}", which is no program; run tests/run python, or cargo build and '
            "COVERLINE_BIN=target/debug/coverline",
            pytrace=False,
        )
    return path


class Server:
    """A `coverline serve` process over a folder, which outlives it."""

    running: list[Server] = []

    def __init__(self, root: Path, *arguments: str, listen: str = "127.0.0.1:0") -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._log = open(root.parent / f"{root.name}.log", "ab")
        self.process = subprocess.Popen(
            [binary(), "serve", "--listen", listen, "--data-dir", str(root), *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], READY_SECONDS_MAX)
        line = self.process.stdout.readline().decode().strip() if ready else ""
        if not line.startswith("listening on grpc"):
            self.process.kill()
            log = Path(self._log.name).read_text()[-2000:]
            pytest.fail(f'the server said "{line}" instead of where it listens; its log: {log}')
        self.url = line.removeprefix("listening on ")
        Server.running.append(self)

    def resident_bytes(self) -> int:
        """Memory of the process now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """Stops it in order. Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self._end()
                raise AssertionError("the server did not stop within 60 s of SIGTERM") from None
        self._end()
        return self.process.returncode

    def _end(self) -> None:
        Server.running.remove(self)
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests; they keep out of each other's way by table names."""
    server = Server(tmp_path_factory.mktemp("server") / "root")
    yield server
    assert server.stop() == 0


@pytest.fixture
def client(server: Server) -> Iterator[coverline.Client]:
    with coverline.connect(server.url) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A table name of the test's own."""
    return f"t_{abs(hash(request.node.nodeid)) % 10**10}_{time.monotonic_ns()}"


@pytest.fixture
def prices(client: coverline.Client, name: str) -> coverline.Table:
    """An empty table: index `ts`, bucket one hour, entity `symbol`."""
    return client.create_table(name, index_column="ts", bucket="1h", entity_columns=["symbol"])


@pytest.fixture(autouse=True)
def _no_server_left() -> Iterator[None]:
    kept = list(Server.running)
    yield
    coverline.stop_embedded_servers()
    # A test that failed may not have come to the end of its own server.
    for left in [server for server in Server.running if server not in kept]:
        left.kill()
