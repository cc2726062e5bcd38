"""Shards: results of some paths, kept so that a stopped run goes on where it was.

A shard is one file: the SHA-256 of what follows, a line of JSON that says whose results these are,
and the arrays as npz. Nothing in it is ever unpickled.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riskengine.app.files import PARTIAL, SYSTEM, Files, canonical
from riskengine.errors import printable

SCHEMA = 2
PREFIX = "shard-"


@dataclass(frozen=True)
class Shard:
    """Results of the paths first … first + count − 1."""

    first: int
    count: int
    arrays: dict[str, np.ndarray]


def is_shard(name: str) -> bool:
    return name.startswith(PREFIX) and not name.endswith(PARTIAL)


def file_name(first: int) -> str:
    """Names sort like their paths."""
    return f"{PREFIX}{first:012d}"


def pack(shard: Shard, key: str) -> bytes:
    """The content of a shard of the run `key`."""
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **shard.arrays)
    header = {"schema": SCHEMA, "key": key, "first": shard.first, "count": shard.count}
    body = canonical(header).encode() + b"\n" + packed.getvalue()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unpack(content: bytes, key: str) -> Shard:
    """What was packed; ValueError if a bit of it changed or it belongs to another run."""
    digest, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its bytes have changed")
    line, _, packed = body.partition(b"\n")
    header = json.loads(line)
    if header["schema"] != SCHEMA or header["key"] != key:
        raise ValueError("it belongs to another run")
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return Shard(header["first"], header["count"], dict(arrays))


def load(folder: Path, notes: list[str], system: Files = SYSTEM) -> Iterator[Shard]:
    """The shards of a run folder in the order of their paths; no path comes twice.

    A damaged shard is left out and `notes` says so: its paths are to be computed again. Safe to
    call while another process adds shards.
    """
    end = 0
    for name in filter(is_shard, system.names(folder)):
        try:
            shard = unpack(system.read(folder / name), folder.name)
        except (OSError, ValueError) as error:
            reason = printable(str(error), 200)
            notes.append(f"{name} is not used and its paths are computed again: {reason}")
            continue
        if shard.first >= end:
            end = shard.first + shard.count
            yield shard
