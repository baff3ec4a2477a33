"""`python -m coverline_bench.peers.quack_server FILE PORT`: serves one DuckDB file over quack until its input ends, and does
the SQL statements that come in, one on each line."""

from __future__ import annotations

import sys

from coverline_bench.clients.quack import TOKEN, open_with_extensions


def main() -> None:
    connection = open_with_extensions(sys.argv[1])
    connection.execute(f"CALL quack_serve('quack:localhost:{sys.argv[2]}', token => '{TOKEN}')")
    print("done", flush=True)
    for line in sys.stdin:
        connection.execute(line)
        print("done", flush=True)


if __name__ == "__main__":
    main()
