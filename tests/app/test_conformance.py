"""`task=conformance`: examples of every kind, wrong numbers, wrong files, and exact identities."""

import copy
import json
import subprocess
import sys
from fractions import Fraction

import pytest
from conformance_examples import EXAMPLES, examples
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared

from riskengine import __main__ as command
from riskengine.app.conformance import registry, task, vectors
from riskengine.errors import InputError
from riskengine.waterfall import formulas


def written(tmp_path, content) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    path = tmp_path / "vectors.json"
    path.write_text(text, encoding="utf-8")
    return str(path)


def ran(capsys, *overrides: str) -> tuple[int, str, str]:
    code = command.main(["task=conformance", *overrides])
    said = capsys.readouterr()
    return code, said.out, said.err


def result(tmp_path, example: dict) -> task.Result:
    [read] = vectors.read(written(tmp_path, [example]))
    return task.evaluate(read, [read])


@pytest.mark.parametrize("example", examples(), ids=lambda e: e["id"])
def test_an_example_holds(tmp_path, example):
    found = result(tmp_path, example)
    assert found.outcome == "passed", "\n".join([found.reason, *task.report([found])])
    assert not found.unchecked


def test_every_kind_has_an_example():
    known = {k for kinds in registry.VENUES.values() for k in kinds}
    shown = {kind for _, kind, _, _ in EXAMPLES}
    unsupported = {"spot_insurance_fee", "resolve_spot_bankruptcy"}
    same = {"social_loss_deposit_interest_delta", "profit_payout"}
    assert known - shown - unsupported - same == set()


def leaves(value, path=()):
    """Places and values of everything in a table that is no table."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def changed(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return 1.01 * value
    if value is None:
        return 3
    return str(int(value) + 1) if value.isdigit() else None


@pytest.mark.parametrize("example", examples(), ids=lambda e: e["id"])
def test_a_changed_number_is_found(tmp_path, example):
    for path, value in leaves(example["expected"]):
        other = changed(value)
        if other is None:
            continue
        wrong = copy.deepcopy(example)
        inner = wrong["expected"]
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = other
        assert result(tmp_path, wrong).outcome == "failed", path


def test_a_rule_in_words_is_evaluated(tmp_path):
    """The wrong sign, the wrong level, the wrong scheme; words that say nothing are named."""
    for kind, venue, inputs, right, wrong in (
        ("insurance_fund_flow", "Bybit", {"side": 1, "bankruptcy_price": 5},
         {"rule": "fill>5 adds (fill-5)*size"}, {"rule": "fill>5 drains (fill-5)*size"}),
        ("adl_trigger", "Bybit", {"pool_balance": 0},
         {"stop_when": "balance>0"}, {"stop_when": "balance>10"}),
        ("tier_table", "Bitget", {"columns": ["cap", "mmr"], "brackets": [[1, 0.1], [2, 0.2]]},
         {"scheme": "flat"}, {"scheme": "marginal"}),
    ):  # fmt: skip
        base = {"id": "a", "venue": venue, "kind": kind, "inputs": inputs}
        assert result(tmp_path, base | {"expected": right}).outcome == "passed"
        assert result(tmp_path, base | {"expected": wrong}).outcome == "failed"
        told = {"triggered": True} if kind == "adl_trigger" else {}
        prose = result(tmp_path, base | {"expected": told | {"how": "as it should"}})
        assert prose.outcome == ("passed" if told else "not supported")
        assert ("how", "prose") in prose.unchecked or "prose" in prose.reason


def test_the_output(tmp_path, capsys):
    """The table, a line per failure, a line per reason, totals last; the code says whether all hold."""
    good = examples()[:3]
    code, out, _ = ran(capsys, f"vectors={written(tmp_path, good)}")
    assert code == 0
    assert out.splitlines()[-1] == "3 examples: 3 passed, 0 failed, 0 not supported"

    bad = copy.deepcopy(good)
    bad[0]["expected"]["maint_amount"] = 14
    bad[1]["kind"] = "tier_tabel"
    bad[2]["venue"] = "Bitgett"
    code, out, _ = ran(capsys, f"vectors={written(tmp_path, bad)}")
    lines = out.splitlines()
    assert code == 4
    assert lines[0].split() == ["venue", "kind", "passed", "failed", "not", "supported"]
    assert (
        f"failed  {bad[0]['id']}  maint_amount: calculated 13, expected 14, tolerance exact" in out
    )
    assert "did you mean tier_table?" in out and "did you mean bitget?" in out
    assert lines[-1] == "3 examples: 0 passed, 1 failed, 2 not supported"


def test_tolerance(tmp_path):
    """As stated; else integers exactly, decimals to 1e-9 or to three digits and more as written."""
    base = {"id": "a", "venue": "FTX", "kind": "collateral_value", "inputs": {}}
    for value, weight, expected, tolerance, holds in (
        (1000, 0.3, 301, 1, True),
        (1000, 0.3, 301, 0.5, False),
        (1000, 0.3001, 300, None, False),
        (10, 0.12344, 1.234, None, True),
        (10, 0.12346, 1.234, None, False),
        (10, 0.123, 1.2, None, False),
    ):
        example = base | {
            "inputs": {"notional": value, "weight": weight},
            "expected": {"collateral_value": expected},
        }
        if tolerance is not None:
            example["tolerance"] = tolerance
        assert (result(tmp_path, example).outcome == "passed") == holds, (value, weight, expected)


def test_an_example_that_contradicts_itself(tmp_path):
    """The same winners cannot share 10 at 50 % and 20 at 60 %."""
    example = {
        "id": "a", "venue": "OKEx (2018)", "kind": "socialized_loss",
        "inputs": {"uncovered_loss": 10, "platform_injection": 10},
        "expected": {"clawback_rate_reported": 0.50, "clawback_rate_without_injection": 0.60},
    }  # fmt: skip
    found = result(tmp_path, example)
    assert found.outcome == "failed" and "contradicts itself" in found.reason
    assert "ratio 2;" in found.reason


GOOD = examples()[0]


def less(key: str) -> dict:
    return {k: v for k, v in GOOD.items() if k != key}


@pytest.mark.parametrize(
    "content, parts",
    [
        ("", ("vectors must be JSON",)),
        ("{", ("vectors must be JSON",)),
        ("{}", ("vectors must be a list",)),
        ("[]", ("at least one",)),
        ("[1]", ("vectors[0] must be an object",)),
        ("[NaN]", ("finite", "NaN")),
        ('[{"a": 1e999999999}]', ("digits",)),
        ('[{"a": ' + "9" * 5000 + "}]", ("digits",)),
        ("[" * 100_000, ("nested",)),
        ([less("id")], ("vectors[0].id must be printable text",)),
        ([less("venue")], (GOOD["id"], "venue is required")),
        ([less("kind")], (GOOD["id"], "kind is required")),
        ([less("inputs")], (GOOD["id"], "inputs is required")),
        ([less("expected")], (GOOD["id"], "expected is required")),
        ([GOOD | {"inputs": []}], (GOOD["id"], "inputs must be an object")),
        ([GOOD | {"expected": {}}], (GOOD["id"], "at least one field")),
        ([GOOD | {"tolerance": "small"}], (GOOD["id"], "tolerance must be a number")),
        ([GOOD | {"tolerance": -1}], (GOOD["id"], "tolerance must be a number >= 0")),
        ([GOOD, GOOD], ("vectors[1].id must be given once",)),
        ([GOOD | {"inputs": GOOD["inputs"] | {"mmr": [1]}}],
         (GOOD["id"], "inputs.mmr must be a number", "[1]")),
        ([GOOD | {"inputs": GOOD["inputs"] | {"mmr": True}}], ("inputs.mmr must be a number",)),
    ],
)  # fmt: skip
def test_a_malformed_file(tmp_path, capsys, content, parts):
    code, out, err = ran(capsys, f"vectors={written(tmp_path, content)}")
    assert code == 2 and not out
    assert err.startswith("error: ") and err.count("\n") == 1 and len(err) <= 301
    for part in parts:
        assert part in err


def test_a_missing_file_and_no_file(tmp_path, capsys):
    assert ran(capsys)[0] == 2
    assert "vectors is required" in ran(capsys)[2]
    assert command.main(["vectors=a.json"]) == 2
    assert "unless task=conformance" in capsys.readouterr().err
    for path, part in ((tmp_path / "none.json", "can be read"), (tmp_path, "regular file")):
        code, _, err = ran(capsys, f"vectors={path}")
        assert code == 2 and part in err
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in ran(capsys, f"vectors={tmp_path / 'bytes'}")[2]


def test_a_missing_input_is_not_supported(tmp_path):
    found = result(tmp_path, GOOD | {"inputs": {"mmr": 0.1}})
    assert found.outcome == "not supported" and "inputs.bracket_floor" in found.reason


@pytest.mark.parametrize("example", examples(), ids=lambda e: e["id"])
def test_no_input_ends_in_a_traceback(tmp_path, example):
    """Every input once as text, null, zero, a list and an object: judged or refused."""
    for name in example["inputs"]:
        for value in ("word", None, 0, -1, [], {}, [{}], {"a": {}}):
            wrong = example | {"inputs": example["inputs"] | {name: value}}
            try:
                found = result(tmp_path, wrong)
            except InputError as error:
                assert example["id"] in str(error)
            else:
                assert found.outcome in task.OUTCOMES


def test_help_and_errors_need_no_jax():
    code = (
        "import sys; from riskengine.__main__ import main; "
        "main(['--help']); main(['task=conformance']); main(['task=conformance', 'vectors=none']); "
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "task=conformance vectors=FILE" in done.stdout


def test_the_shared_examples():
    """All hold, but for those that contradict themselves and say how."""
    examples = vectors.read(str(shared("vectors", "vectors.json")))
    results = [
        task.evaluate(example, [other for other in examples if other.venue == example.venue])
        for example in examples
    ]
    bad = [r for r in results if r.outcome != "passed" and "contradicts itself" not in r.reason]
    assert not bad, "\n".join(task.report(bad))


# Identities, exactly

PRICE = st.fractions(Fraction(1, 100), 10**6, max_denominator=1000)
SIZE = st.fractions(-1000, 1000, max_denominator=1000).filter(bool)
RATIO = st.fractions(0, Fraction(99, 100), max_denominator=1000)
MONEY = st.fractions(-(10**6), 10**6, max_denominator=1000)


@given(st.lists(st.tuples(PRICE, SIZE, RATIO.filter(bool)), min_size=1, max_size=5), MONEY)
def test_closing_everything_at_bankruptcy_prices_leaves_nothing(positions, equity):
    required = [r * abs(q) * p for p, q, r in positions]
    per_margin = formulas.health(equity, sum(required))
    left = equity
    for (mark, size, _), needs in zip(positions, required, strict=True):
        at = formulas.bankruptcy_price(mark, size, needs, per_margin)
        left += formulas.gain(size, at, mark)
        assert formulas.insurance_delta(size, at, mark) == needs * per_margin
    assert left == 0


@given(PRICE, SIZE, RATIO, MONEY, MONEY)
def test_at_the_liquidation_price_equity_is_maintenance_margin(
    entry, size, ratio, equity, deduction
):
    at = formulas.liquidation_price(equity, entry, size, ratio, deduction)
    margin = formulas.marginal_margin(abs(size) * at, ratio, deduction)
    assert equity + formulas.gain(size, at, entry) == margin


@given(PRICE, SIZE, st.fractions(0, Fraction(1, 10), max_denominator=1000))
def test_inverse_equity_is_nothing_at_its_bankruptcy_price(entry, contracts, share):
    margin = share * abs(contracts) / entry
    below = margin + contracts / entry
    if below != 0:
        at = formulas.inverse_price(contracts, entry, margin, 0, 0)
        assert margin + contracts * (1 / entry - 1 / at) == 0


@given(st.lists(PRICE, min_size=2, max_size=6, unique=True), st.data())
def test_brackets_are_continuous(caps, data):
    floors = [Fraction(0), *sorted(caps)]
    ratios = sorted(data.draw(RATIO) for _ in floors)
    deduction = Fraction(0)
    for floor, before, ratio in zip(floors[1:], ratios[:-1], ratios[1:], strict=True):
        below = formulas.marginal_margin(floor, before, deduction)
        deduction = formulas.next_deduction(floor, ratio, before, deduction)
        assert formulas.marginal_margin(floor, ratio, deduction) == below


@given(MONEY, MONEY, MONEY)
def test_the_restoring_share_restores(target, equity, spent):
    if target != spent:
        share = formulas.share_to_margin(target, equity, spent)
        assert equity - share * spent == (1 - share) * target
