"""The answer in two or three sentences: what leads the terminal, the report and the manifest."""

from riskengine.app.amounts import ends, percent, probability, usd
from riskengine.app.config import Config
from riskengine.app.stress import Rung
from riskengine.app.study import Study
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate


def lead(study: Study, config: Config, found: dict[str, Estimate], ladder: list[Rung]) -> str:
    """How likely an intervention and a dry fund are, and what fund would be needed."""
    interest = study.question.open_interest
    of, fund = whose(study, config), capital(study)
    if ladder:
        return f"{of[0].upper()}{of[1:]} with a fund of {fund}: {_rungs(ladder)}."
    adl, dry = found["adl_probability"], found["depletion_probability"]
    said = (
        f"In a simulated crash {of} has an intervention with probability "
        f"{probability(adl, f'{percent(adl.level)} interval ')}. Its fund of {fund} runs dry with "
        f"probability {probability(dry)}. "
    )
    if not study.question.opened.complete:
        return said + "The book is partial, so there is no fund target."
    aim, seldom = found["fund_target"], percent(config.target.adl_probability)
    if aim.value is None:
        return said + f"No fund target for interventions in {seldom} of crashes: {aim.note}."
    few = f" (rests on {aim.hits} crashes)" if (aim.hits or 0) < estimators.RARE else ""
    return said + (
        f"To have interventions in at most {seldom} of crashes it needs "
        f"{percent(aim.value / interest)} of open interest ({ends(aim.low, aim.high, interest)}; "
        f"{usd(aim.value)}){few}."
    )


def whose(study: Study, config: Config) -> str:
    """The book and the rules: a synthetic book of 128 M USD open interest under …'s rules."""
    kind = "a synthetic" if config.book.path is None else "your"
    if config.book.reader != "positions":
        kind = "the recorded"
    detail = (config.venue.title or config.venue.name).partition(", ")[2]
    rules = f"{short_title(config, of=True)} rules" + (f" ({detail})" if detail else "")
    return f"{kind} book of {usd(study.question.open_interest)} open interest under {rules}"


def short_title(config: Config, of: bool = False) -> str:
    """The venue, without what follows a comma in its title; `of` it."""
    name = (config.venue.title or config.venue.name).partition(", ")[0]
    return name + (("'" if name.endswith("s") else "'s") if of else "")


def capital(study: Study) -> str:
    """The first-loss capital, in percent of open interest first."""
    share = percent(study.capital / study.question.open_interest)
    return f"{share} of open interest ({usd(study.capital)})"


def _rungs(ladder: list[Rung]) -> str:
    """The smallest shocks on the way down and up at which things happen, in how many books."""
    said = []
    for side, sign in (("fall", -1), ("rise", 1)):
        rungs = sorted((r for r in ladder if r.shock * sign > 0), key=lambda rung: abs(rung.shock))
        for words, count in (
            ("winners are deleveraged", "deleveraged"),
            ("the fund is dry", "dry"),
        ):
            first = next((rung for rung in rungs if getattr(rung, count)), None)
            if first is None:
                said.append(f"{words} at no {side} that was tried")
                continue
            books = (
                f"{getattr(first, count)} of {first.books} books" if first.books > 1 else "the book"
            )
            said.append(f"{words} from a {side} of {100 * abs(first.shock):g} % on (in {books})")
    return "; ".join(said)
