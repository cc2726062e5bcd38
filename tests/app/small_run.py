"""A run of six made-up paths, and an operating system that fails on demand.

As a script: `small_run.py ROOT [KILL_AT]` runs it in a process of its own, which kills itself at
the given call to the operating system.
"""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from riskengine.app import store
from riskengine.app.files import SYSTEM, Files

NAME, KEY = "small", "0123456789ab"
NEVER = 10**9
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(store.__file__).parents[2])}
RESULTS = {"config.yaml", "paths.parquet", "curves.csv"}


class Faulty(Files):
    """The real system, but call number `at` fails, and with `forever` all later ones too."""

    def __init__(self, at: int = NEVER, forever: bool = False, kill: bool = False):
        self.at, self.forever, self.kill, self.calls = at, forever, kill, 0

    def fails(self) -> bool:
        self.calls += 1
        return self.calls == self.at or (self.forever and self.calls > self.at)

    def fail(self) -> None:
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def faulty(name: str):
    def call(self, *arguments):
        if self.fails():
            if name == "write":  # half of it arrives
                path, data = arguments
                path.write_bytes(data[: len(data) // 2])
            self.fail()
        return getattr(Files, name)(self, *arguments)

    return call


for method in set(vars(Files)) - {"unlock"}:
    if not method.startswith("_"):
        setattr(Faulty, method, faulty(method))


def loss_of(path: int) -> float:
    return float(np.random.default_rng(path).normal())


def run(root: Path, system: Files = SYSTEM, paths: int = 6) -> dict:
    """What the runner does: go on from shards, write results, declare the run finished."""
    with store.open_run(root, NAME, KEY, system) as folder:
        if folder.manifest:
            return folder.manifest
        done = {shard.first: shard.arrays["loss"] for shard in folder.load_shards()}
        for first in range(0, paths, 2):
            if first not in done:
                done[first] = np.array([loss_of(first), loss_of(first + 1)])
                folder.save_shard(first, 2, {"loss": done[first]})
        loss = np.concatenate([done[first] for first in sorted(done)])
        columns = {"path": np.arange(len(loss)), "loss": loss}
        folder.write("config.yaml", "seed: 0\n")
        folder.write_parquet("paths.parquet", columns, {"key": KEY})
        folder.write("curves.csv", store.to_csv(columns))
        return folder.finish({"seed": 0, "notes": folder.notes})


class Stopped(Faulty):
    """Ctrl-C when the first table is written."""

    def call(self, function, *arguments):
        raise KeyboardInterrupt


def unfinished(root: Path) -> Path:
    """A run stopped after its shards."""
    with contextlib.suppress(KeyboardInterrupt):
        run(root, Stopped())
    return root / NAME / KEY


def tree(root: Path) -> dict[str, bytes]:
    """What a run leaves, without what depends on the clock."""
    folder = root / NAME / KEY
    skipped = {store.LOCK, store.MANIFEST}
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in skipped}


def child(root: Path, *arguments: str, **options) -> subprocess.Popen:
    command = [sys.executable, __file__, str(root), *arguments]
    env = ENVIRONMENT | options.pop("env", {})
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, **options)


def limit_files(size: int) -> None:
    """What `ulimit -f` does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


if __name__ == "__main__":
    if "FILE_SIZE_MAX" in os.environ:
        limit_files(int(os.environ["FILE_SIZE_MAX"]))
    try:
        kill_at = int(sys.argv[2]) if len(sys.argv) > 2 else NEVER
        run(Path(sys.argv[1]), Faulty(kill_at, kill=True))
    except (store.RunBusy, store.StoreError, store.CorruptRun) as error:
        print(error)
        sys.exit(error.exit_code)
