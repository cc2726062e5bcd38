"""Data that does not ship with the project: looked for beside it, tests skip where it is absent."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("RISKENGINE_DATA") or PROJECT.parent / "shared")


def shared(*names: str) -> Path:
    """A file or folder of the shared data; the test is skipped where it does not exist."""
    path = ROOT.joinpath(*names)
    if not path.exists():
        pytest.skip(f"{Path(*names)} is not there; RISKENGINE_DATA names the folder that has it")
    return path


def module(path: Path) -> ModuleType:
    """A Python file as a module under its own name, so that its neighbours find each other."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    return loaded
