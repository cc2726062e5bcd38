"""Programs that outlive their process: found again when nothing has changed, made again otherwise."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from riskengine.montecarlo import programs
from riskengine.montecarlo.programs import Kept
from riskengine.types import compiled, pytree, static


@pytree
class Pair:
    first: object
    second: object
    name: str = static()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for programs in place of the user's; jax is told nothing."""
    monkeypatch.setattr(programs, "_folder", [tmp_path])
    return tmp_path


class Counted:
    """A program that counts how often it is traced."""

    def __init__(self):
        self.traced = 0

    def __call__(self, *facts):
        def work(key, pair):
            self.traced += 1
            noise = jax.random.uniform(key, pair.first.shape)
            first, second = pair.first * pair.second + noise, pair.first.sum()
            return Pair(first=first, second=second, name=pair.name)

        return Kept(compiled(work), *facts)


KEY = jax.random.key(3)


def pair(size=5, second=2.0, name="a"):
    return Pair(first=jnp.arange(float(size)), second=second, name=name)


def same(one, other):
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def test_nothing_is_kept_where_nobody_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_folder", [])
    monkeypatch.chdir(tmp_path)
    counted = Counted()
    counted()(KEY, pair())
    counted()(KEY, pair())
    assert counted.traced == 2 and not list(tmp_path.rglob("*"))


def test_a_program_is_found_again_and_says_the_same(folder):
    counted = Counted()
    first = counted("x")(KEY, pair())
    found = counted("x")
    assert same(found(KEY, pair()), first) and counted.traced == 1
    other = found(KEY, pair(second=7.0))  # another number, not another program
    assert counted.traced == 1 and float(other.second) == 10.0
    assert other.name == "a" and type(other) is Pair
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda: (("y",), pair()),  # what the function closes over
        lambda: (("x",), pair(size=6)),
        lambda: (("x",), pair(name="b")),  # structure
        lambda: (("x",), pair(second=jnp.asarray(2.0))),  # a number of another type
        lambda: (("x",), pair(second=np.ones(5))),
    ],
)
def test_whatever_a_program_depends_on_makes_another(folder, change):
    counted = Counted()
    counted("x")(KEY, pair())
    facts, argument = change()
    found = counted(*facts)(KEY, argument)
    assert counted.traced == 2
    expected = argument.first * argument.second + jax.random.uniform(KEY, argument.first.shape)
    np.testing.assert_allclose(found.first, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["source", "machine"])
def test_other_code_or_another_processor_makes_another(folder, monkeypatch, name):
    counted = Counted()
    counted()(KEY, pair())
    monkeypatch.setattr(programs, name, lambda: "another")
    counted()(KEY, pair())
    assert counted.traced == 2 and len(list(folder.iterdir())) == 2


def test_flags_and_settings_make_another(folder, monkeypatch):
    counted = Counted()
    counted()(KEY, pair())
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + " --xla_dump_to=")
    counted()(KEY, pair())
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        counted()(KEY, pair())
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert counted.traced == 3


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[:-1], lambda data: data[:-9] + b"x" + data[-8:]],
    ids=["empty", "cut", "altered"],
)
def test_a_damaged_file_is_made_again(folder, damage):
    counted = Counted()
    first = counted()(KEY, pair())
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert same(counted()(KEY, pair()), first) and counted.traced == 2
    assert same(counted()(KEY, pair()), first) and counted.traced == 2


def test_a_folder_that_cannot_be_made_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(programs, "_folder", [tmp_path / "file" / "programs"])
    counted = Counted()
    first = counted()(KEY, pair())
    assert same(counted()(KEY, pair()), first) and counted.traced == 2


def test_a_folder_that_cannot_be_used_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_folder", [tmp_path])
    before = jax.config.values["jax_compilation_cache_dir"]
    (tmp_path / "file").write_text("in the way")
    programs.keep(tmp_path / "file")
    assert programs._folder == [] and jax.config.values["jax_compilation_cache_dir"] == before


def test_what_jax_found_is_not_kept_again(folder, monkeypatch):
    """A program that comes out of jax's own cache loses its functions when it is written once more."""
    lowered = jax.jit(lambda x: x + 1.0)
    plain = lowered.lower(1.0).compile()

    class Hit:
        def compile(self):
            jax.monitoring.record_event("/jax/compilation_cache/cache_hits")
            return plain

    class Function:
        def __call__(self, *_):
            raise AssertionError("not compiled by us")

        def lower(self, *_):
            return Hit()

    before = jax.config.values[programs.LEAST]
    assert float(Kept(Function())(1.0)) == 2.0
    assert not list(folder.iterdir()) and jax.config.values[programs.LEAST] == before


def test_what_was_used_longest_ago_makes_room(tmp_path):
    (tmp_path / "jax-0").mkdir()
    files = [tmp_path / "old.program", tmp_path / "jax-0" / "f-cache", tmp_path / "new.program"]
    others = [tmp_path / "mine.txt", tmp_path / "other-cache"]
    for age, path in enumerate(files + others):
        path.write_bytes(bytes(100))
        os.utime(path, (age, age))
    os.utime(files[0], (50, 50))  # used again
    programs.make_room(tmp_path, 200)
    assert [path.exists() for path in files + others] == [True, False, True, True, True]
