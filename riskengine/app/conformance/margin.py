"""Margin: tiers and their deductions, rates, and what accounts must hold."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from riskengine.app.conformance.compare import Judge, Unchecked
from riskengine.app.conformance.vectors import Inputs, Number, Unsupported, as_number
from riskengine.waterfall import formulas

FLAT = ("bitget", "okx")  # venues that charge the whole position at the rate of its tier
BACKSTOP = Fraction(2, 3)  # of maintenance margin: Hyperliquid's vault, Coinbase's MM of IM
CLOSE_OUT, CLOSE_OUT_FTX = Fraction(12, 100), Fraction(6, 100)
ROOT_MMF, LEAST_MMF = Fraction(6, 10), Fraction(3, 100)  # FTX: of k√size, and at least
MILLIONS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


@dataclass(frozen=True)
class Tiers:
    """Floors and maintenance ratios of a table, lowest tier first."""

    floors: Sequence[Number]
    ratios: Sequence[Number]

    def deductions(self) -> list[Number]:
        """What makes the brackets continuous."""
        found: list[Number] = [0]
        for floor, ratio, before in zip(
            self.floors[1:], self.ratios[1:], self.ratios[:-1], strict=True
        ):
            found.append(formulas.next_deduction(floor, ratio, before, found[-1]))
        return found

    def marginal(self, value: Number) -> Number:
        """Every slice at its own rate."""
        ratio = self._of(value, self.ratios)
        return formulas.marginal_margin(value, ratio, self._of(value, self.deductions()))

    def flat(self, value: Number) -> Number:
        """All at the rate of the tier."""
        return formulas.marginal_margin(value, self._of(value, self.ratios), 0)

    def _of(self, value: Number, column: Sequence[Number]) -> Number:
        # a position of just a cap is still in the tier below; only flat tables jump there
        inside = [floor for floor in self.floors[1:] if floor < value]
        count = len(inside)
        return formulas.tier_value(
            value, self.floors[1 : count + 1], column[1 : count + 1], column[0]
        )


def tiers(inputs: Inputs) -> Tiers:
    """The table of an example, however it is written."""
    if inputs.has("tiers"):
        rows = inputs.groups("tiers")
        floors = [row.number(row.first("lower_notional", "floor", "lower", "min")) for row in rows]
        return Tiers(floors, [_ratio(row) for row in rows])
    if inputs.has("brackets"):
        table = columns(inputs)
        return Tiers(_floors(table, inputs), _column(table, "mmr", inputs))
    floors, ratios = [0], []
    for place in range(1, 100):
        ratio = inputs.first(f"mmr_tier{place}")
        if not inputs.has(ratio):
            break
        ratios.append(inputs.number(ratio))
        cap = [n for n in inputs if n.startswith(f"tier{place}_cap")]
        floors += [inputs.number(name) for name in cap[:1]]
    if not ratios:
        raise Unsupported("the inputs have no table: tiers, brackets with columns, or mmr_tier1 …")
    if len(floors) < len(ratios):
        raise Unsupported(f"the inputs have no tier{len(floors)}_cap")
    return Tiers(floors[: len(ratios)], ratios)


def _ratio(row: Inputs) -> Number:
    if row.gives("mmr", "maintenance_ratio"):
        return row.number(row.first("mmr", "maintenance_ratio"))
    if row.has("maintenance_leverage"):
        return Fraction(1) / row.positive("maintenance_leverage")
    return Fraction(1, 2) / row.positive("max_leverage")


def columns(inputs: Inputs) -> dict[str, list[Number]]:
    """Brackets by column."""
    names = inputs.listed("columns")
    table: dict[str, list[Number]] = {str(name): [] for name in names}
    for place, row in enumerate(inputs.listed("brackets")):
        where = f"{inputs.where}.brackets[{place}]"
        if not isinstance(row, list) or len(row) != len(names):
            raise inputs.wrong(f"brackets[{place}]", f"a list of {len(names)} numbers", row)
        for name, value in zip(table, row, strict=True):
            table[name].append(as_number(value, where))
    if not inputs.listed("brackets"):
        raise inputs.wrong("brackets", "at least one tier", [])
    return table


def _column(table: dict[str, list[Number]], stem: str, inputs: Inputs) -> list[Number]:
    for name, values in table.items():
        if name == stem or name.startswith(f"{stem}_") or f"_{stem}" in name:
            return values
    raise Unsupported(f"inputs.columns has no {stem}")


def _floors(table: dict[str, list[Number]], inputs: Inputs) -> list[Number]:
    if any(name.startswith(("floor", "lower", "min")) for name in table):
        name = next(n for n in table if n.startswith(("floor", "lower", "min")))
        return table[name]
    return [0, *_column(table, "cap", inputs)[:-1]]


def maintenance_amount(inputs: Inputs) -> dict[str, Any]:
    """The deduction of one bracket from that of the bracket below."""
    return {
        "maint_amount": formulas.next_deduction(
            inputs.number("bracket_floor"), inputs.number("mmr"), inputs.number("mmr_prev"),
            inputs.number("maint_amount_prev"),
        )
    }  # fmt: skip


def tier_table(inputs: Inputs) -> dict[str, Any]:
    """Deductions of all tiers, margins at stated notionals, and tiers beyond those listed."""
    table = tiers(inputs)
    flat = inputs.text("scheme", "flat" if inputs.venue in FLAT else "marginal") == "flat"
    margin = table.flat if flat else table.marginal
    deductions = table.deductions()
    found: dict[str, Any] = {
        "maint_amount": deductions,
        "mm_deduction": deductions,
        "deduction": deductions,
        "scheme": Judge(lambda said: _scheme(said, table, flat)),
    }
    for name in inputs.expected:
        at = re.fullmatch(r"(?:mm|maintenance_margin)_at_(\d+(?:_\d+)?)([kmb]?)", name)
        if at:
            number = Fraction(at[1].replace("_", ".")) * MILLIONS[at[2]]
            found[name] = margin(number)
        at = re.fullmatch(r"tier_?(\d+)", name)
        if at and inputs.has("brackets"):
            found[name] = _tier(int(at[1]), columns(inputs), inputs)
    return found


def _scheme(said: Any, table: Tiers, flat: bool) -> str | Unchecked | None:
    """Whether a table is flat or marginal shows just above its second floor."""
    text = str(said).lower()
    named = [word for word in ("flat", "marginal", "gradient", "bracket") if word in text]
    if not named or len(table.floors) < 2:
        return Unchecked("prose")
    above = table.floors[1] + 1
    whole = above * table.ratios[1]
    charged = table.flat(above) if flat else table.marginal(above)
    is_flat = charged == whole
    return None if is_flat == (named[0] == "flat") else ("flat" if is_flat else "marginal")


def _tier(number: int, table: dict[str, list[Number]], inputs: Inputs) -> dict[str, Number]:
    """A tier that is listed, or one that follows by constant steps."""
    names = {name: values for name, values in table.items() if name != "max_leverage"}
    listed = len(next(iter(table.values())))
    if number <= listed:
        return {name: values[number - 1] for name, values in names.items()}
    steps = _steps(inputs.text("then"))
    found = {}
    for name, values in names.items():
        step = steps.get("cap" if "cap" in name else name)
        if step is None:
            raise Unsupported(f"inputs.then says no step of {name}")
        found[name] = formulas.stepped(values[-1], number - listed, step)
    return found


def _steps(text: str) -> dict[str, Number]:
    """ "+150000 contracts, mmr +0.5%, imr +0.5%": a step of the cap and of the rates."""
    found: dict[str, Number] = {}
    for name, rate in re.findall(r"(\w+)\s*\+\s*([\d.]+)\s*%", text):
        found[name] = Fraction(rate) / 100
    cap = re.search(r"\+\s*([\d,]+)\s*(?:contracts|ct|usd)", text.lower())
    if cap:
        found["cap"] = int(cap[1].replace(",", ""))
    return found


def maintenance_margin(inputs: Inputs) -> dict[str, Any]:
    """Margin of one position under a table, flat and marginal."""
    value = inputs.number(inputs.first("notional", "position", "value", "position_value"))
    table = tiers(inputs)
    marginal, flat = table.marginal(abs(value)), table.flat(abs(value))
    margin = flat if inputs.venue in FLAT else marginal
    return {
        "maintenance_margin": margin,
        "mm": margin,
        "backstop_equity": formulas.share_of(margin, BACKSTOP),
        "mm_flat": flat,
        "mm_flat_old": flat,
        "mm_gradient": marginal,
        "mm_gradient_new": marginal,
        "mm_marginal": marginal,
    }


def margin_tier(inputs: Inputs) -> dict[str, Any]:
    """Where a position stands in a table, by whichever table is given."""
    if inputs.has("base_mm"):
        return _risk_limit(inputs)
    if inputs.has("selected_leverage"):
        return _largest_position(inputs)
    return _net_position(inputs)


def _risk_limit(inputs: Inputs) -> dict[str, Any]:
    """BitMEX: rates rise by the base rate with every step of the risk limit."""
    base, initial = inputs.number("base_mm"), inputs.number("base_im")
    limit = inputs.number(inputs.first("base_risk_limit"))
    step = inputs.positive(inputs.first("risk_step"))
    before = inputs.number(inputs.first("position_before"), 0)
    after = before + inputs.number(inputs.first("order"), 0)
    found: dict[str, Any] = {}
    for when, held in (("before", before), ("after", after)):
        steps = max(math.ceil(Fraction(held - limit) / step), 0)
        rate, im = formulas.stepped(base, steps, base), formulas.stepped(initial, steps, base)
        found |= {
            f"steps_{when}": steps,
            f"mm_rate_{when}": rate,
            f"im_rate_{when}": im,
            f"mm_{when}": formulas.marginal_margin(held, rate, 0),
            f"im_{when}": formulas.marginal_margin(held, im, 0),
            f"risk_limit_{when}": formulas.stepped(limit, steps, step),
        }
    return found


def _largest_position(inputs: Inputs) -> dict[str, Any]:
    """Gate: the largest cap whose maximum leverage is not below the leverage selected."""
    table = columns(inputs)
    caps, most = _column(table, "cap", inputs), _column(table, "max_leverage", inputs)
    given = inputs["selected_leverage"]
    selected = inputs.numbers("selected_leverage") if isinstance(given, list) else None
    asked = selected if selected is not None else [inputs.number("selected_leverage")]
    found = [
        max((c for c, m in zip(caps, most, strict=True) if m >= leverage), default=0)
        for leverage in asked
    ]
    return {"max_position": found if selected is not None else found[0]}


def _net_position(inputs: Inputs) -> dict[str, Any]:
    """HTX: the adjustment factor goes by the net position, summed over expiries."""
    legs = inputs.groups("positions") if inputs.has("positions") else [inputs]
    net = sum(abs(leg.number(leg.first("long")) - leg.number(leg.first("short"))) for leg in legs)
    found: dict[str, Any] = {"net": net}
    if not inputs.has("tiers"):
        reason = "the venue's table of adjustment factors is not among the inputs"
        return found | dict.fromkeys(
            ("adjustment_factor", "maintenance_margin_rate", "mmr"), Unchecked(reason)
        )
    rows = inputs.groups("tiers")
    floors = [row.number(row.first("lower", "floor", "min", "net_min")) for row in rows]
    factors = [row.number("adjustment_factor") for row in rows]
    factor = formulas.tier_value(net, floors[1:], factors[1:], factors[0])
    rate = Fraction(factor) / inputs.positive("leverage")
    return found | {"adjustment_factor": factor, "maintenance_margin_rate": rate, "mmr": rate}


def coinbase(inputs: Inputs) -> dict[str, Any]:
    """Coinbase: MM is 2/3 of IM; the close-out margin is the larger of IM/3 and MM − 12 %."""
    if inputs.gives("im", "initial_margin"):
        initial = inputs.number(inputs.first("im", "initial_margin"))
    else:
        base = inputs.number(inputs.first("base_im", "bim"))
        factor = inputs.number(inputs.first("rp", "risk_parameter"))
        initial = formulas.root_ratio(base, factor, inputs.number(inputs.first("coh")))
    maintenance = formulas.share_of(initial, BACKSTOP)
    return {
        "im": initial,
        "mm": maintenance,
        "close_out_margin": formulas.close_out_margin(initial, 3, maintenance, CLOSE_OUT),
    }


def deribit(inputs: Inputs) -> dict[str, Any]:
    """Deribit: rates of a position, growing with its size since 2022."""
    size = inputs.number(inputs.first("position", "size"))
    found: dict[str, Any] = {}
    for name in ("mm", "im"):
        base = inputs.first(f"{name}_rate", f"{name}_base", f"{name}_base_rate", f"base_{name}")
        if not inputs.has(base):
            continue
        slopes = [n for n in inputs if n != base and _is_slope(n, name)]
        slope = inputs.number(slopes[0]) if slopes else 0
        rate = formulas.linear_ratio(inputs.number(base), slope, size)
        found |= {f"{name}_rate": rate, name: formulas.marginal_margin(abs(size), rate, 0)}
    return found


def _is_slope(name: str, margin: str) -> bool:
    own = name.startswith(margin) or not name.startswith(("mm", "im"))
    return own and any(word in name for word in ("per", "slope", "increment", "step"))


def ftx(inputs: Inputs) -> dict[str, Any]:
    """FTX: margin fractions that grow with the root of the position."""
    size = abs(inputs.number(inputs.first("size", "position")))
    factor = inputs.number("imf_factor")
    base = inputs.number("base_imf", 0)
    if inputs.has("max_leverage"):
        base = max(base, Fraction(1) / inputs.positive("max_leverage"))
    weight = inputs.number("weight", 1)
    initial = formulas.root_ratio(base, factor, size) * weight
    maintenance = formulas.root_ratio(LEAST_MMF, ROOT_MMF * factor, size) * weight
    out = formulas.close_out_margin(maintenance, 2, maintenance, CLOSE_OUT_FTX)
    return {"imf": initial, "mmf": maintenance, "acmf": out}


def hedged(inputs: Inputs) -> dict[str, Any]:
    """HTX: of a long and a short in the same contract, the smaller leg is free by a ratio."""
    face, price = inputs.number("face"), inputs.positive("price")
    leverage = inputs.positive("leverage")
    long, short = (
        Fraction(formulas.inverse_value(inputs.number(inputs.first(leg)), face, price)) / leverage
        for leg in ("long", "short")
    )
    offset = inputs.number("offset_ratio", 1)
    gross, margin = long + short, formulas.hedged_margin(long, short, offset)
    return {"gross_margin": gross, "locked_offset": gross - margin, "margin": margin}


def margin_requirement(inputs: Inputs) -> dict[str, Any]:
    """By what is given: a root factor, two legs, rates of a position, or an initial margin."""
    if inputs.has("imf_factor"):
        return ftx(inputs)
    if inputs.has("face"):
        return hedged(inputs)
    return deribit(inputs) if inputs.gives("position", "size") else coinbase(inputs)


def collateral_value(inputs: Inputs) -> dict[str, Any]:
    """Collateral counts at its weight."""
    weight = inputs.number(inputs.first("collateral_weight", "weight"))
    value = inputs.number(inputs.first("notional", "value", "amount"))
    if inputs.has("price"):
        value = value * inputs.number("price")
    return {"collateral_value": formulas.share_of(value, weight)}


KINDS = {
    "maintenance_amount": maintenance_amount,
    "tier_table": tier_table,
    "maintenance_margin": maintenance_margin,
    "margin_tier": margin_tier,
    "margin_requirement": margin_requirement,
    "collateral_value": collateral_value,
}
VENUES = {"coinbase": {}, "deribit": {}, "ftx": {}, "htx": {}}
