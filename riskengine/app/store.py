"""Run folders `runs/<name>/<key>/`: shards while a run goes on, results and a manifest at its end.

The key says what is computed, so the same command finds its own folder and goes on from there. The
manifest is written last: a folder whose manifest says `finished` holds all that it lists.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from riskengine.app import files, parquet, shards
from riskengine.app.files import SYSTEM, Files, canonical, shown
from riskengine.errors import CorruptRun, InputError, RunBusy, StoreError, printable

SCHEMA = 1  # of the folder; another one is left alone
MANIFEST = "manifest.json"
LOCK = ".lock"
ADVICE = "move the run directory away to compute it again"
ALLOWED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
# A folder made here may be copied to a machine where these names mean devices.
RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{p}{n}" for p in ("COM", "LPT") for n in range(10)}


def run_key(config: dict, inputs: dict[str, str], version: str) -> str:
    """Twelve hex digits of what is computed: resolved config, digests of inputs, code version."""
    asked = {"config": config, "inputs": inputs, "version": version}
    return _sha256(canonical(asked))[:12]


def to_json(value: Any) -> str:
    """JSON for people: keys in the order given."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(columns: dict[str, np.ndarray]) -> str:
    """A table with a header; floats have the digits it takes to read them back exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    return text.getvalue()


def write_beside(folder: Path, name: str, columns: dict[str, np.ndarray]) -> Path:
    """Write a table about several runs into the folder that holds them.

    The file is named after its first two columns, so what is asked again takes its place.
    """
    first = [column.tolist() for column in list(columns.values())[:2]]
    path = folder / f"{name}_{_sha256(canonical(first))[:12]}.csv"
    write_whole(path, to_csv(columns))
    return path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is there whole or as it was."""
    with files.storing(path, len(content)), files.replacing(SYSTEM, path) as partial:
        SYSTEM.write(partial, _encoded(content) if isinstance(content, str) else content)


def now() -> datetime:
    """The only clock that reaches a file; durations come from a counter that never jumps."""
    return datetime.now(UTC)


def checked(name: str) -> str:
    """A run's name that is safe as a folder on any system."""
    if not ALLOWED.fullmatch(name) or name.partition(".")[0].upper() in RESERVED:
        must = (
            "must be a run_name of 1 to 80 letters, digits, '.', '_' or '-' that does not start "
            "with '.' or '-' and is not reserved by Windows"
        )
        raise InputError("name", must, name)
    return name


def writable(runs: str) -> None:
    """Refuse a folder of runs that cannot be made or written, before anything is computed."""
    place = Path(runs).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise InputError("runs", "must be a folder that can be written", runs)


@contextlib.contextmanager
def open_run(
    root: Path,
    name: str,
    key: str,
    system: Files = SYSTEM,
    clock: Callable[[], datetime] = now,
) -> Iterator["RunFolder"]:
    """Take the folder of a run for this process; to others it is busy until the block ends.

    `RunFolder.manifest` is set where the run was finished before. A damaged run, and one of another
    schema, raises `CorruptRun` and stays as it is.
    """
    folder = root / checked(name) / key
    with files.storing(folder):
        system.make(folder)
        system.sync(folder.parent)
        system.sync(root)
        lock = system.lock(folder / LOCK)
    if lock is None:
        raise RunBusy(f"run directory {shown(folder)} is in use by another process")
    try:
        yield RunFolder(folder, lock, system, clock)
    finally:
        system.unlock(lock)


class RunFolder:
    """A run folder that belongs to this process; made by `open_run`."""

    def __init__(self, folder: Path, lock: int, system: Files, clock: Callable[[], datetime]):
        self.folder = folder
        self.notes: list[str] = []
        self._lock, self._system, self._clock = lock, system, clock
        self._started, self._counter = clock(), time.monotonic()
        self._records: dict[str, dict] = {}
        self.manifest = finished(folder, system)
        if self.manifest and self.manifest["key"] != folder.name:
            raise CorruptRun(f"{shown(folder)} exists and holds run {self.manifest['key']}")
        with files.storing(folder):
            self._remove(lambda name: name.endswith(files.PARTIAL))
            if self.manifest:
                self._remove(shards.is_shard)

    def save_shard(self, first: int, count: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep the results of paths, so that a later process need not compute them again."""
        content = shards.pack(shards.Shard(first, count, arrays), self.folder.name)
        self._put(shards.file_name(first), content)

    def load_shards(self) -> Iterator[shards.Shard]:
        """What earlier processes kept; `notes` names the shards that are damaged."""
        with files.storing(self.folder):
            yield from shards.load(self.folder, self.notes, self._system)

    def write(self, name: str, content: str | bytes) -> None:
        """Write a result. Text is UTF-8 whatever the locale."""
        self._put(name, content if isinstance(content, bytes) else _encoded(content))
        self._record(name)

    def write_parquet(
        self, name: str, columns: dict[str, np.ndarray], metadata: dict[str, str]
    ) -> None:
        """Write a result that is a table."""
        size = sum(column.nbytes for column in columns.values())
        with self._replacing(name, size) as partial:
            self._system.call(parquet.write, partial, columns, metadata)
        self._record(name)

    def finish(self, manifest: dict) -> dict:
        """Declare the run finished, with the results written in this block; drop the shards."""
        self.manifest = self._declare("finished", manifest)
        # The run is complete; what cannot be removed now goes when the folder is next opened.
        with contextlib.suppress(OSError):
            self._remove(shards.is_shard)
        return self.manifest

    def interrupt(self, manifest: dict) -> dict:
        """Say that the run was stopped; the same command goes on with it."""
        return self._declare("interrupted", manifest)

    def _declare(self, state: str, manifest: dict) -> dict:
        ours = {
            "schema": SCHEMA,
            "state": state,
            "name": self.folder.parent.name,
            "key": self.folder.name,
            "started": _utc(self._started),
            "ended": _utc(self._clock()),
            "seconds": round(time.monotonic() - self._counter, 3),
        }
        listed = {"files": [self._records[name] for name in sorted(self._records)]}
        # Ours come first, and win. Read back, so that the digest is of what a reader will see.
        document = json.loads(to_json(ours | manifest | ours | listed))
        document["sha256"] = _seal(document)
        self._put(MANIFEST, _encoded(to_json(document)))
        return document

    def _put(self, name: str, content: bytes) -> None:
        with self._replacing(name, len(content)) as partial:
            self._system.write(partial, content)

    @contextlib.contextmanager
    def _replacing(self, name: str, size: int) -> Iterator[Path]:
        """As `files.replacing`, while the folder is still the one that was locked."""
        path = self.folder / name
        with files.storing(path, size):
            if not self._system.same(self._lock, self.folder / LOCK):
                raise OSError("the run directory was replaced by another one")
            with files.replacing(self._system, path) as partial:
                yield partial

    def _record(self, name: str) -> None:
        """Note what the manifest will say of a file that was just written."""
        path = self.folder / name
        with files.storing(path):
            size, sha256 = self._system.size(path), self._system.digest(path)
            rows = self._system.call(_rows, path)
        self._records[name] = {"name": name, "bytes": size, "sha256": sha256, "rows": rows}

    def _remove(self, chosen: Callable[[str], bool]) -> None:
        for name in filter(chosen, self._system.names(self.folder)):
            self._system.remove(self.folder / name)


def finished(folder: Path, system: Files = SYSTEM) -> dict | None:
    """The manifest of a finished run, after each of its files was compared with its digest."""
    manifest = read_manifest(folder, system)
    if manifest is None or manifest["state"] != "finished":
        return None
    for record in manifest["files"]:
        path = folder / record["name"]
        try:
            same = system.digest(path) == record["sha256"]
            same = same and system.call(_rows, path) == record["rows"]
        except (FileNotFoundError, IsADirectoryError):
            raise CorruptRun(f"{shown(path)} is missing; {ADVICE}") from None
        except OSError as error:
            raise StoreError(f"{shown(path)} cannot be read: {files.reason(error)}") from error
        if not same:
            raise CorruptRun(f"{shown(path)} has changed since it was written; {ADVICE}")
    return manifest


def read_manifest(folder: Path, system: Files = SYSTEM) -> dict | None:
    """The manifest as it was written, finished or not, without a look at its files."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(system.read(path), parse_constant=_refuse)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{shown(path)} cannot be read: {files.reason(error)}") from error
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or "schema" not in manifest:
        raise CorruptRun(f"{shown(path)} is not a whole manifest; {ADVICE}")
    if manifest["schema"] != SCHEMA:
        theirs = f"schema {printable(manifest['schema'])}, this riskengine knows {SCHEMA}"
        raise CorruptRun(f"{shown(path)} has {theirs}; it is left as it is")
    if manifest.get("sha256") != _seal(manifest):
        raise CorruptRun(f"{shown(path)} has changed since it was written; {ADVICE}")
    return manifest


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _seal(manifest: dict) -> str:
    """Digest of all of a manifest but the digest itself."""
    return _sha256(canonical({name: v for name, v in manifest.items() if name != "sha256"}))


def _encoded(text: str) -> bytes:
    """UTF-8; what a terminal could not decode is written as an escape."""
    return text.encode(errors="backslashreplace")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(path: Path) -> int | None:
    """Rows of a table; None for what is not a table."""
    if path.suffix == ".parquet":
        return parquet.rows(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as text:
            return sum(1 for _ in csv.reader(text)) - 1
    return None


def _utc(moment: datetime) -> str:
    """ISO 8601 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
