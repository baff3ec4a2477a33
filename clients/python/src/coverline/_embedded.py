"""A `coverline` server of this process over a local folder: started when first wanted, shared, stopped when let go.

One server runs per folder and process. It listens on a free port of the loopback interface. It stops (SIGTERM, so that it ends in
order) when the last `Lease` is closed or collected, when the interpreter exits, and also when the process is killed: a shell stands
between the two, and ends the server when its standard input, which this process holds, is closed.
"""

from __future__ import annotations

import atexit
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import IO

from .client import Client, connect
from .errors import CoverlineError, NotFoundError, PreconditionError, UnavailableError

BINARY_VARIABLE = "COVERLINE_BIN"
"""Environment variable that names the binary."""

START_SECONDS_MAX = 60.0
"""How long a server may take to say that it listens; recovery of a large folder is part of it."""

STOP_SECONDS_MAX = 60.0
"""How long a server may take to finish what it is doing."""

END_SECONDS_MAX = 5.0
"""How long one that no longer answers may take to end, before it is taken to run and to have its reasons."""

_READY = "listening on "

# Exit codes of a shell from here on tell which signal ended its child.
_SIGNAL_CODES = 128

# $0 is the binary. The server's standard output is this script's; cat ends when the process at the other end is gone.
_KEEPER = """
trap : TERM INT
"$0" "$@" &
server=$!
exec 1>&-
cat > /dev/null
kill -TERM "$server" 2> /dev/null
wait "$server"
"""


def find_binary() -> str:
    """Path of the `coverline` binary: `COVERLINE_BIN`, else next to this package, else on PATH.

    Raises:
        CoverlineError: when it is nowhere.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        if os.access(named, os.X_OK) and os.path.isfile(named):
            return os.path.abspath(named)
        raise CoverlineError(f'{BINARY_VARIABLE} is "{named}", which is no program')
    package = Path(__file__).parent
    for place in (package / "bin" / "coverline", package / "coverline"):
        if place.is_file() and os.access(place, os.X_OK):
            return str(place)
    found = shutil.which("coverline")
    if found:
        return found
    raise CoverlineError(
        "the coverline binary was not found, which a table in a local folder needs; put it on PATH, or name it in the "
        f"environment variable {BINARY_VARIABLE}"
    )


class _Server:
    """A running server over one folder."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.leases = 0
        self._owner = os.getpid()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                _KEEPER,
                find_binary(),
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
                root,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            # Ctrl-C at a terminal is for this process; the server stops when it is let go.
            start_new_session=True,
        )
        try:
            self.url = self._wait_until_ready()
            self.client: Client = connect(self.url)
        except BaseException:
            self.let_go()
            self.wait()
            raise

    def _wait_until_ready(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise UnavailableError(
                    f'the server of "{self.root}" was not ready after {START_SECONDS_MAX:.0f} seconds{self._said()}'
                )
            piece = os.read(stdout.fileno(), 4096)
            if not piece:
                raise self._ended()
            line += piece
        text = line.decode("utf-8", "replace").strip()
        if not text.startswith(_READY):
            raise UnavailableError(f'the server of "{self.root}" said "{text}" at its start')
        return text[len(_READY) :]

    def _ended(self) -> CoverlineError:
        """Why it ended before it was ready. It refuses a folder by an exit code; a signal was meant for the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(STOP_SECONDS_MAX)
        kind = PreconditionError if 0 < code < _SIGNAL_CODES else UnavailableError
        return kind(f'the server of "{self.root}" ended before it was ready{self._said()}')

    def _said(self) -> str:
        """The end of what it wrote to standard error, for a message."""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 2000))
        text = self._stderr.read().decode("utf-8", "replace").strip()
        return f": {text}" if text else ""

    def let_go(self) -> None:
        """Asks it to stop, and does not wait."""
        if os.getpid() != self._owner:
            return
        client = getattr(self, "client", None)
        if client is not None:
            client.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> None:
        """Waits until it has stopped; a server that does not is killed, which loses no acknowledged append."""
        if os.getpid() != self._owner:
            return
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()

    def is_running(self) -> bool:
        """Whether it can be used. What a killed process held is closed piece by piece, its connections perhaps first."""
        if self._has_ended(0):
            return False
        try:
            self.client.tables()
        except UnavailableError:
            return not self._has_ended(END_SECONDS_MAX)
        except CoverlineError:
            pass
        return True

    def _has_ended(self, seconds_max: float) -> bool:
        # After its one line, its output becomes readable only by ending.
        stdout = self._process.stdout
        return stdout is None or bool(select.select([stdout], [], [], seconds_max)[0])


_lock = threading.RLock()
_servers: dict[str, _Server] = {}
# Told to stop, perhaps still at it: a new server on the same folder has to wait for its lock.
_stopping: list[_Server] = []


class Lease:
    """A share in the server of a folder. Closed by `close`, or when it is collected."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        with _lock:
            server = _servers.get(self.root)
            if server is not None and not server.is_running():
                _servers.pop(self.root)
                server.let_go()
                server.wait()
                server = None
            if server is None:
                _wait_for_stopping(self.root)
                server = _Server(self.root)
                _servers[self.root] = server
            server.leases += 1
        self._server = server
        self._release = weakref.finalize(self, _give_back, server)
        self._release.atexit = False

    @property
    def client(self) -> Client:
        """A connection to the server."""
        if not self._release.alive:
            raise CoverlineError(f'the table at "{self.root}" was closed')
        return self._server.client

    def close(self) -> None:
        """Gives the share back. The last one stops the server, and waits for it."""
        self._release()
        with _lock:
            if self._server in _stopping:
                _wait_for_stopping(self.root)


def _give_back(server: _Server) -> None:
    # Runs from the garbage collector too, so it must not wait.
    with _lock:
        server.leases -= 1
        if server.leases == 0 and _servers.get(server.root) is server:
            _servers.pop(server.root)
            _stopping.append(server)
            server.let_go()


def _wait_for_stopping(root: str | None) -> None:
    for server in [server for server in _stopping if root in (None, server.root)]:
        server.wait()
        _stopping.remove(server)


@atexit.register
def stop_all() -> None:
    """Stops every server of this process, and waits until they have stopped."""
    with _lock:
        for server in list(_servers.values()):
            server.let_go()
            _stopping.append(server)
        _servers.clear()
        _wait_for_stopping(None)


def require_folder(root: str) -> None:
    """Refuses a folder that holds no tables, before a server is started that would make it one.

    Raises:
        NotFoundError
    """
    if not os.path.isdir(os.path.join(root, "_catalog")):
        raise NotFoundError(f'there is no table at "{root}"; create it with TimeSeriesTable.create')
