"""Compiled programs that outlive their process, so that the next one starts at once.

Tracing the program of a path takes four seconds and compiling it ten to twenty. Both depend on
nothing but this package, jax, the machine and the shapes that the program is asked for: a program
is kept under a digest of all of these, and whoever asks the same finds it. A file that cannot be
used is made again; a folder that cannot be used is left alone, and programs are compiled as ever.
"""

import contextlib
import functools
import hashlib
import math
import os
import pickle
import platform
import sys
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
from jax.experimental import serialize_executable

PACKAGE = Path(__file__).parents[1]
PROGRAM = ".program"  # how the names of programs end
KEPT = (f"*{PROGRAM}", "jax-*/*-cache")  # all that is kept here, and by jax below
ROOM = 2**30  # bytes of it; what was used longest ago goes first
DIGEST = hashlib.sha256
LEAST = "jax_persistent_cache_min_compile_time_secs"  # of what jax keeps

_folder: list[Path] = []  # where programs are kept: one folder, or none


def keep(folder: Path) -> None:
    """From now on programs are looked for in this folder, and left there, where that can be done.

    jax keeps all others below it, unless the user told it where. What is said to jax holds for
    the process.
    """
    _folder.clear()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(folder / f"jax-{machine()}"))
        jax.config.update(LEAST, 0.0)
    # Not tried on a GPU, where tracing is most of what is left, and jax's own cache serves.
    if jax.default_backend() == "cpu":
        _folder.append(folder)


class Kept:
    """A jitted function of arrays and records, compiled once for their shapes and machine."""

    def __init__(self, function: Any, *facts: Hashable):
        """`facts` tell it from others of this package: all that its closure holds."""
        self.function = function
        self.facts = facts
        self._ready: dict[Hashable, Callable] = {}

    def __call__(self, *args: Any) -> Any:
        if not _folder:
            return self.function(*args)
        leaves, tree = jax.tree.flatten((args, {}))
        shape = tree, tuple(map(_kind, leaves))
        if shape not in self._ready:
            name = DIGEST(f"{world()} {self.facts!r} {shape}".encode()).hexdigest()[:32] + PROGRAM
            path = _folder[0] / name
            self._ready[shape] = _load(path, tree) or self._compile(args, path)
        return self._ready[shape](*args)

    def _compile(self, args: tuple, path: Path) -> Callable:
        lowered = self.function.lower(*args)
        with _not_by_jax() as found:
            program = lowered.compile()
        if not found:
            # A program that cannot be kept serves this process all the same, whatever the reason.
            with contextlib.suppress(Exception):
                _save(program, path)
        return program


@contextlib.contextmanager
def _not_by_jax() -> Iterator[list[str]]:
    """jax's own cache leaves this program to us; what it found there nevertheless, in a list.

    What comes from there cannot be kept again: with jax 0.10.1 it loses its functions.
    """
    found: list[str] = []

    def heard(event: str, **_: Any) -> None:
        found.extend([event] if event.endswith("/cache_hits") else [])

    before = jax.config.values[LEAST]  # pyright: ignore[reportAttributeAccessIssue]
    jax.monitoring.register_event_listener(heard)
    jax.config.update(LEAST, math.inf)
    try:
        yield found
    finally:
        jax.config.update(LEAST, before)
        jax.monitoring.unregister_event_listener(heard)


def _kind(leaf: Any) -> Hashable:
    """What a program depends on, of an argument."""
    if isinstance(leaf, jax.Array):
        return str(leaf.aval), str(leaf.sharding)  # pyright: ignore[reportAttributeAccessIssue]
    return str(jax.typeof(leaf)), type(leaf).__name__


def _save(program: Any, path: Path) -> None:
    code, _, tree = serialize_executable.serialize(program)
    # jax cannot pickle a tree of this package's records, but a record of numbers can be.
    like = jax.tree.unflatten(tree, range(tree.num_leaves))
    data = pickle.dumps((code, like))
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(DIGEST(data).digest() + data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    make_room(path.parent, ROOM)


def _load(path: Path, tree: Any) -> Callable | None:
    """The program of a file, or nothing where it is not there or not as it was written."""
    with contextlib.suppress(Exception):
        data, size = path.read_bytes(), DIGEST().digest_size
        if DIGEST(data[size:]).digest() == data[:size]:
            code, like = pickle.loads(data[size:])
            out = jax.tree.structure(like)
            program = serialize_executable.deserialize_and_load(code, tree, out)
            os.utime(path)
            return program
    return None


def make_room(folder: Path, room: int) -> None:
    """Remove what was used longest ago, of the programs of this folder, until the rest has room."""
    found = {path: path.stat() for pattern in KEPT for path in folder.glob(pattern)}
    held = 0
    for path in sorted(found, key=lambda path: found[path].st_mtime, reverse=True):
        held += found[path].st_size
        if held > room:
            path.unlink(missing_ok=True)


@functools.cache
def source() -> str:
    """Digest of this package's code."""
    found = DIGEST()
    for path in sorted(PACKAGE.rglob("*.py")):
        found.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


@functools.cache
def machine() -> str:
    """Digest of the processor: a program of one may use instructions that another has not."""
    said = [platform.platform(), platform.processor()]
    with contextlib.suppress(OSError):
        said += Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    lines = [line for line in said if not line.startswith(("cpu MHz", "bogomips"))]
    return DIGEST("\n".join(lines).encode()).hexdigest()[:16]


def world() -> str:
    """All that programs depend on beside their arguments."""
    flags = {name: os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")}
    settings = sorted(jax.config.values.items())  # pyright: ignore[reportAttributeAccessIssue]
    versions = sys.version, jax.__version__, jaxlib.version.__version__
    return repr((source(), machine(), versions, jax.devices(), flags, settings))
