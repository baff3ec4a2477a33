"""A Flight client with next to nothing in it: whole DoPut requests made beforehand, sent over a plain socket.

A stock client spends more processor time on a small append than the server does, so on a machine that both share it measures
itself. This one is to Coverline what pgbench is to PostgreSQL. It knows just enough HTTP/2: one stream at a time, no header
decoding; an append counts as acknowledged when its receipt came, and as refused when the stream ends without one.
"""

from __future__ import annotations

import socket
import struct
from urllib.parse import urlsplit

import pyarrow as pa

from coverline_bench import generate

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
# What every HTTP/2 peer accepts without having said so, bytes.
FRAME_MAX = 16_384
# Bytes of receipts that the server may send before it waits for us to ask for more: more than one connection ever gets.
RECEIVE_WINDOW = 2**30
RECEIVE_BYTES = 65_536
TIMEOUT_SECONDS = 60.0


class Connection:
    def __init__(self, address: str) -> None:
        self.address = urlsplit(address)
        self.begin()

    def begin(self) -> None:
        """Connects anew: stream numbers run out, and the first frames are part of no job."""
        host, port = self.address.hostname, self.address.port
        assert host is not None and port is not None
        self.socket = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.stream = -1
        grow = struct.pack(">I", RECEIVE_WINDOW)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"") + frame(WINDOW, 0, 0, grow))
        self.headers = b"\x83\x86" + b"".join(
            literal(name, value)
            for name, value in (
                (":path", "/arrow.flight.protocol.FlightService/DoPut"),
                (":authority", self.address.netloc),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            )
        )

    def payload(self, table: str, entity: int, first_second: int, rows: int) -> list[tuple[int, int, bytes]]:
        """The frames of one DoPut, as kind, flags and content: the stream's number is not known yet."""
        (batch,) = generate.small(first_second, rows, entity).combine_chunks().to_batches()
        # A descriptor of type PATH.
        path = field(1, b"\x08\x01" + field(3, table.encode()))
        schema, _ = encapsulated(batch.schema.serialize())
        header, body = encapsulated(batch.serialize())
        content = message(path + field(2, schema)) + message(field(2, header) + field(1000, body))
        pieces = [content[start : start + FRAME_MAX] for start in range(0, len(content), FRAME_MAX)]
        return [(HEADERS, END_HEADERS, self.headers)] + [
            (DATA, END_STREAM if number == len(pieces) else 0, piece) for number, piece in enumerate(pieces, 1)
        ]

    def append(self, payload: list[tuple[int, int, bytes]]) -> None:
        self.stream += 2
        self.socket.sendall(b"".join(frame(kind, flags, self.stream, content) for kind, flags, content in payload))
        receipt = False
        while True:
            kind, flags, stream, content = self.next_frame()
            if kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.socket.sendall(frame(PING, ACK, 0, content))
            elif kind == GOAWAY or (kind == RESET and stream == self.stream):
                raise RuntimeError(f"the server ended the stream: frame {kind}, {content!r}")
            elif kind in (DATA, HEADERS) and stream == self.stream:
                receipt |= kind == DATA and len(content) > 0
                if flags & END_STREAM:
                    if not receipt:
                        raise RuntimeError("an append was refused: the stream ended without a receipt")
                    return

    def next_frame(self) -> tuple[int, int, int, bytes]:
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            received = self.socket.recv(RECEIVE_BYTES)
            if not received:
                raise RuntimeError("the server closed the connection")
            self.buffer += received
        length = int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
        content, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
        return kind, flags, stream, content


def connect(address: str) -> Connection:
    return Connection(address)


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + content


def literal(name: str, value: str) -> bytes:
    """A header as plain text that is not to be remembered."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def message(content: bytes) -> bytes:
    """A gRPC message, not compressed."""
    return b"\x00" + struct.pack(">I", len(content)) + content


def field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def encapsulated(buffer: pa.Buffer) -> tuple[bytes, bytes]:
    """The header and the body of an Arrow IPC message."""
    content = buffer.to_pybytes()
    (length,) = struct.unpack_from("<i", content, 4)
    return content[8 : 8 + length], content[8 + length :]
