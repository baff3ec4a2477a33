"""What a refused append says about the rows that are there already. The programs beside this file share it.

The server attaches a google.rpc.ErrorInfo, a protobuf message, to the error; clients/README.md says what its fields mean. It is
read by hand here, so that nothing more has to be installed: whoever has the package googleapis-common-protos takes its classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DETAILS = b"grpc-status-details-bin"
ERROR_INFO = b"type.googleapis.com/google.rpc.ErrorInfo"
REASON = b"COVERAGE_OVERLAP"


@dataclass(frozen=True)
class Overlap:
    """Why an append was refused. Nothing of it was committed."""

    table: str
    # (entity, bucket) pairs of the append that other appends own.
    count: int
    # One of them, for example symbol="AAPL", and its bucket, whose end is exclusive.
    entity: str
    bucket_start: str
    bucket_end: str
    # The version that owns it; None when the server could not tell.
    owner_version: int | None
    # True when the append has the very rows of that version, False when not, as for a revision; None when the server does not know.
    identical: bool | None

    def __str__(self) -> str:
        example = f"first {self.entity} [{self.bucket_start}, {self.bucket_end}), since version {self.owner_version}"
        # Other rows for the same buckets are no repeat: somebody has to decide which ones are right.
        kind = "refused" if self.identical is False else "already loaded"
        return f"{kind}, {self.count} overlapping buckets ({example})"


def overlap_of(error: BaseException | None) -> Overlap | None:
    """The overlap that an error reports, or None for every other error.

    Takes what ADBC and pyarrow.flight raise, and what is wrapped around it by tools such as pandas and SQLAlchemy.
    """
    while error is not None:
        for detail in _details(error):
            if overlap := _read(detail):
                return overlap
        error = error.__cause__
    return None


def _details(error: BaseException) -> list[bytes]:
    """The details that the server attached to an error, each in a google.protobuf.Any."""
    # pyarrow.flight has the google.rpc.Status that they came in, ADBC takes that apart and lists them among the headers.
    if status := getattr(error, "extra_info", None):
        return fields(bytes(status)).get(3, [])
    return [value for name, value in getattr(error, "details", []) if name == DETAILS]


def _read(detail: bytes) -> Overlap | None:
    packed = fields(detail)
    if packed[1] != [ERROR_INFO]:
        return None
    info = fields(packed[2][0])
    if info[1] != [REASON]:
        return None
    pairs = [fields(pair) for pair in info[3]]
    said = {pair[1][0].decode(): pair[2][0].decode() for pair in pairs}
    return Overlap(
        table=said["table"],
        count=int(said["overlap_count"]),
        entity=said.get("example_entity", ""),
        bucket_start=said["bucket_start"],
        bucket_end=said["bucket_end"],
        owner_version=int(said["owner_version"]) if "owner_version" in said else None,
        identical={"true": True, "false": False}.get(said.get("identical", "")),
    )


def fields(message: bytes) -> dict[int, list[Any]]:
    """The fields of a protobuf message by their numbers: numbers as int, everything else as bytes."""
    found: dict[int, list[Any]] = {}
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        number, kind = divmod(varint(), 8)
        value: int | bytes
        if kind == 0:
            value = varint()
        else:
            # Fixed-width numbers, or a length before the bytes.
            size = {1: 8, 5: 4}[kind] if kind in (1, 5) else varint()
            value = message[position : position + size]
            position += size
        found.setdefault(number, []).append(value)
    return found
