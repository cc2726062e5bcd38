"""Files that are either old or new: durable writes, and one writer per folder."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from riskengine.errors import StoreError, printable

PARTIAL = ".tmp"  # how the name of an unfinished file ends


class Files:
    """What the store asks of the operating system; tests let single calls fail."""

    def make(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def lock(self, path: Path) -> int | None:
        """A lock that the kernel drops when the process ends, however it ends; None if taken."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:
            os.close(handle)
            raise
        return handle

    def unlock(self, handle: int) -> None:
        os.close(handle)

    def same(self, handle: int, path: Path) -> bool:
        """Is `path` still the file that was opened as `handle`?"""
        return os.path.samestat(os.fstat(handle), os.stat(path))

    def names(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder))

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def sync(self, path: Path) -> None:
        """Wait until a file, or the list of names in a folder, is on the disk."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            # Some network file systems cannot sync a folder, and say so.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(handle)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def digest(self, path: Path) -> str:
        """SHA-256 in hex, read in pieces."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Let a function that opens files by itself do so."""
        return function(*arguments)


SYSTEM = Files()


def canonical(value: Any) -> str:
    """JSON that does not depend on the order of keys; a number that is not finite is an error."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@contextlib.contextmanager
def replacing(files: Files, target: Path) -> Iterator[Path]:
    """A path to write to; what is there takes the place of `target` when the block succeeds.

    The unfinished file lies beside its target, so that the last step is a rename within one file
    system: a crash at any moment leaves the old file or the new one.
    """
    partial = target.with_name(target.name + PARTIAL)
    try:
        yield partial
        files.sync(partial)
        files.replace(partial, target)
        files.sync(target.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            files.remove(partial)
        raise


@contextlib.contextmanager
def storing(path: Path, size: int = 0) -> Iterator[None]:
    """Turn a refusal of the operating system into one line that names the path."""
    try:
        yield
    except OSError as error:
        need = f" ({size:,} bytes needed)" if size else ""
        raise StoreError(f"{shown(path)} cannot be written: {reason(error)}{need}") from error


def reason(error: OSError) -> str:
    """Why, in the system's words, without the path."""
    return printable(error.strerror or str(error), 200)


def shown(path: Path) -> str:
    """A path for a message."""
    return printable(str(path), 300)
