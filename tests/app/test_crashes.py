"""Run folders survive full disks, kills, second processes and flipped bits (FLT-01 to FLT-23)."""

import contextlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from small_run import ENVIRONMENT, KEY, NAME, RESULTS, Faulty, child, run, tree, unfinished

from riskengine.app import store
from riskengine.errors import RunBusy, StoreError


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> dict[str, bytes]:
    """All files that an undisturbed run has at any time."""
    root = tmp_path_factory.mktemp("clean")
    shards = tree(unfinished(root).parents[1])
    assert {name for name in shards if name not in RESULTS} == {
        f"shard-{first:012d}" for first in (0, 2, 4)
    }
    run(root)
    return shards | tree(root)


@pytest.mark.parametrize("forever", [False, True])
def test_a_full_disk_leaves_old_files_or_new_ones(tmp_path, clean, forever):
    counter = Faulty()
    run(tmp_path / "count", counter)
    assert counter.calls > 50
    for at in range(1, counter.calls + 1, 3 if forever else 1):
        root = tmp_path / f"{at}"
        try:
            run(root, Faulty(at, forever))
        except StoreError as error:
            assert error.exit_code == 3
            assert str(root) in str(error) and "No space left" in str(error)
            assert "\n" not in str(error)
        if (root / NAME / KEY).exists():
            for name, content in tree(root).items():
                assert content == clean.get(name) or (forever and name.endswith(".tmp"))
        run(root)
        assert tree(root) == {name: clean[name] for name in RESULTS}, at


def test_a_finished_run_stays_as_it_is_whatever_fails(tmp_path):
    run(tmp_path)
    before = tree(tmp_path), (tmp_path / NAME / KEY / store.MANIFEST).read_bytes()
    for at in range(1, 30):
        with contextlib.suppress(StoreError):
            run(tmp_path, Faulty(at))
        assert (tree(tmp_path), (tmp_path / NAME / KEY / store.MANIFEST).read_bytes()) == before


def test_kill_minus_nine_and_resume(tmp_path, clean):
    counter = Faulty()
    run(tmp_path / "count", counter)
    for at in range(3, counter.calls, counter.calls // 6):
        process = child(tmp_path / f"{at}", f"{at}")
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
        run(tmp_path / f"{at}")
        assert tree(tmp_path / f"{at}") == {name: clean[name] for name in RESULTS}


def test_results_do_not_know_where_when_and_by_whom(tmp_path, clean):
    env = {
        "LC_ALL": "C", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7", "HOME": "/nonexistent",
        "SECRET": "hunter2-hunter2",
    }  # fmt: skip
    process = child(tmp_path / "élan", env=env)
    assert process.communicate(timeout=30)[0] == "" and process.returncode == 0
    assert tree(tmp_path / "élan") == {name: clean[name] for name in RESULTS}
    for path in (tmp_path / "élan" / NAME / KEY).iterdir():
        content = path.read_bytes()
        assert b"hunter2" not in content and os.fsencode(tmp_path) not in content


def test_a_file_size_limit_is_one_line(tmp_path):
    process = child(tmp_path, env={"FILE_SIZE_MAX": "600"})
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 3
    assert output.count("\n") == 1 and "File too large" in output
    assert not [name for name in tree(tmp_path) if name.endswith(".tmp")]


def test_one_process_at_a_time_and_no_stale_lock(tmp_path):
    holder = (
        "import sys, time; from pathlib import Path; from riskengine.app import store\n"
        f"with store.open_run(Path(sys.argv[1]), {NAME!r}, {KEY!r}):\n"
        "    print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(tmp_path)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(RunBusy, match="is in use by another process") as busy:
        run(tmp_path)
    assert busy.value.exit_code == 5 and str(busy.value).startswith("run directory")
    assert tree(tmp_path) == {}
    process.kill()
    process.communicate(timeout=30)
    run(tmp_path)


@pytest.mark.parametrize("place", [3, 70, 200, -1])
def test_a_flipped_bit_in_a_shard_is_computed_again(tmp_path, clean, place):
    shard = unfinished(tmp_path) / "shard-000000000002"
    content = bytearray(shard.read_bytes())
    content[place] ^= 4
    shard.write_bytes(content)
    notes = run(tmp_path)["notes"]
    assert len(notes) == 1 and notes[0].startswith(shard.name)
    assert tree(tmp_path) == {name: clean[name] for name in RESULTS}


def test_without_a_manifest_the_run_is_made_again(tmp_path, clean):
    manifest = run(tmp_path)
    (tmp_path / NAME / KEY / store.MANIFEST).unlink()
    again = run(tmp_path)
    assert again["files"] == manifest["files"]
    assert store.finished(tmp_path / NAME / KEY) == again
    assert store.finished(tmp_path / "nowhere") is None


def test_an_interrupted_run_says_so_and_goes_on(tmp_path, clean):
    unfinished(tmp_path)
    with store.open_run(tmp_path, NAME, KEY) as folder:
        folder.interrupt({"seed": 0})
    manifest = store.read_manifest(tmp_path / NAME / KEY)
    assert manifest is not None and manifest["state"] == "interrupted"
    assert run(tmp_path)["state"] == "finished"
    assert tree(tmp_path) == {name: clean[name] for name in RESULTS}


@pytest.mark.parametrize("instead", ["nothing", "file", "folder"])
def test_a_folder_that_vanishes_is_one_line(tmp_path, instead):
    path = tmp_path / NAME / KEY
    with store.open_run(tmp_path, NAME, KEY) as folder:
        os.rename(path, tmp_path / "elsewhere")
        if instead == "file":
            path.write_text("")
        if instead == "folder":
            path.mkdir()
            (path / store.LOCK).write_text("")
        with pytest.raises(StoreError, match=KEY):
            folder.save_shard(0, 1, {"x": np.zeros(1)})
    assert os.listdir(tmp_path / "elsewhere") == [store.LOCK]
    assert path.exists() == (instead != "nothing")


def test_a_root_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(StoreError, match="runs.*cannot be written") as error:
        run(tmp_path / "runs")
    assert "\n" not in str(error.value) and (tmp_path / "runs").read_text() == "mine"
