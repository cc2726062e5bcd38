"""The house: five rooms, one direction; what may be imported where, and what may not be written."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "riskengine"
FILES = sorted(PACKAGE.rglob("*.py"))
ORDER = ("errors", "types", "specs", "waterfall", "montecarlo", "calibration", "app")
DOOR = ("__init__", "__main__")  # open app, and only when something is used
ONLY_IN = {
    "hydra": {"app"},
    "omegaconf": {"app"},
    "pandas": {"app"},
    "duckdb": {"app"},
    "rich": {"app"},
    "jinja2": {"app"},
    "vl_convert": {"app"},
    "yaml": {"app", "__main__"},
    "optax": {"calibration"},
    "scipy": {"montecarlo", "calibration", "app"},
}
LONGEST = 480  # lines of a file
FORBIDDEN_IN_PATH = ("jnp.dot", "jnp.matmul", "einsum", "segment_sum", "jax.random", " @ ")


def room(file: Path) -> str:
    part = file.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imports(file: Path) -> list[str]:
    """Full names of everything that a file imports, wherever it does."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_module_imports_from_its_room_and_from_rooms_to_its_left(file):
    here = room(file)
    for name in imports(file):
        parts = name.split(".")
        if parts[0] != "riskengine" or len(parts) == 1 or here in DOOR:
            continue
        there = parts[1]
        if there == "__version__":
            continue
        if here == "reference":
            assert there in ("reference", "errors"), name
        elif there == "reference":
            assert here == "app", name
        else:
            assert ORDER.index(there) <= ORDER.index(here), f"{here} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_heavy_packages_stay_in_their_rooms(file):
    for name in imports(file):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or room(file) in allowed, f"{room(file)} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_files_are_short_and_read_no_pickles(file):
    text = file.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert "allow_pickle=True" not in text
    assert "instantiate" not in text or "hydra.utils" not in text


@pytest.mark.parametrize("file", sorted((PACKAGE / "waterfall").glob("*.py")), ids=lambda f: f.name)
def test_the_path_has_no_dot_no_scatter_add_and_no_randomness(file):
    tree = ast.parse(file.read_text())
    code = ast.unparse(tree)  # without comments
    strings = {
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
    for text in strings:
        code = code.replace(repr(text), "''")
    for word in FORBIDDEN_IN_PATH:
        assert word not in code, word


def test_the_reference_engine_is_plain_python():
    for file in (PACKAGE / "reference").glob("*.py"):
        for name in imports(file):
            assert name.split(".")[0] not in ("jax", "numpy", "scipy", "jaxtyping"), name


def test_no_configuration_names_code():
    for file in (ROOT / "conf").rglob("*.yaml"):
        assert not re.search(r"_target_|_partial_|!!python|\$\{oc\.", file.read_text()), file


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nobody_publishes_a_slope_that_leaves_out_the_triggers(file):
    """`montecarlo.gradients` refuses one unless it is asked by name, and nothing here asks."""
    if file.name == "gradients.py":
        return
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            asked = [word.arg for word in node.keywords]
            assert "through_triggers" not in asked, f"line {node.lineno}"
