"""`conf/` and the report's template are found from a checkout and from an installed wheel."""

import os
import subprocess
import sys
import zipfile

import pytest
from commands import PROJECT

IMPORTED = "import riskengine.app.report as r; print(r.__file__)"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's files, as pip would place them."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(place / "site")
    return place / "site"


def run(home, cwd, *arguments):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(home)}
    # -P: what lies in the working folder is not imported
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("kind", ["checkout", "wheel"])
def test_the_configuration_is_found_from_an_empty_folder(kind, installed, tmp_path):
    home = installed if kind == "wheel" else PROJECT
    assert run(home, tmp_path, "-c", IMPORTED).stdout.startswith(str(home))
    said = run(home, tmp_path, "-m", "riskengine", "--cfg", "venue=binance", "experiment=ladder")
    assert said.returncode == 0 and said.stderr == ""
    assert "name: binance" in said.stdout and "name: ladder" in said.stdout
    helped = run(home, tmp_path, "-m", "riskengine", "--help")
    assert "experiment=october_2025" in helped.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_is_complete(installed):
    """Every file of the package and of conf/, and nothing else but its description."""
    ours = {p.relative_to(PROJECT) for p in (PROJECT / "riskengine").rglob("*") if p.is_file()}
    ours = {str(p) for p in ours if "__pycache__" not in p.parts}
    ours |= {f"riskengine/{p.relative_to(PROJECT)}" for p in (PROJECT / "conf").rglob("*.yaml")}
    there = {str(p.relative_to(installed)) for p in installed.rglob("*") if p.is_file()}
    there = {p for p in there if ".dist-info" not in p and "__pycache__" not in p}
    assert there == ours
