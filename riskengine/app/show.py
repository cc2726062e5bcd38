"""What a run says on the terminal: results on standard output, the rest on standard error."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from riskengine.app import bias, colour, hinges, rare, words
from riskengine.app.amounts import counted
from riskengine.app.answers import Answers
from riskengine.app.build import Question
from riskengine.app.config import Config, SimulationConfig
from riskengine.app.fidelity import Fidelity
from riskengine.app.shadow import Shadow
from riskengine.app.study import Study
from riskengine.montecarlo.estimators import Estimate

PLAIN_EVERY = 10.0  # s between lines of progress where there is no terminal


class Screen:
    """Where a run talks to: coloured on a terminal, plain lines in a pipe."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, brief: bool = False):
        self.out, self.err = out or sys.stdout, err or sys.stderr
        self.brief = brief  # a job of a sweep, which tells the answers itself

    def say(self, text: str) -> None:
        print(colour.carried(text, self.out), file=self.out, flush=True)

    def note(self, text: str) -> None:
        begin = colour.paint("note:", colour.YELLOW, self.err)
        print(colour.carried(f"{begin} {text}", self.err), file=self.err, flush=True)

    def last(self, sentence: str) -> None:
        """The last line of standard output repeats the answer."""
        if self.brief:
            return
        self.say("")
        self.say(colour.paint(sentence, colour.BOLD, self.out))

    def opening(self, config: Config, question: Question) -> None:
        """What is about to run."""
        shape, books = question.books.layout, len(question.opened.holdings)
        self.note(
            f"{config.name}: {config.simulation.paths} paths x {question.simulation.dt.shape[0]} "
            f"steps, {books} books of {shape.number_of_accounts} accounts and "
            f"{shape.number_of_positions} positions in {len(question.markets)} markets; the first "
            "batch compiles the program, or finds it compiled"
        )

    @contextlib.contextmanager
    def progress(self, asked: SimulationConfig) -> Iterator[Callable[[str, int, int], None]]:
        """Progress with time left: a bar on a terminal, a line now and then elsewhere."""
        if self.err.isatty():
            with self._bar() as told:
                yield told
        else:
            yield self._lines()

    @contextlib.contextmanager
    def _bar(self):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        done = TextColumn("{task.completed}/{task.total} paths")
        left = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        columns = (TextColumn("{task.description}"), BarColumn(), done, *left)
        with Progress(*columns, console=Console(file=self.err), transient=True) as bar:
            tasks: dict[str, int] = {}

            def told(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=done, total=total)  # pyright: ignore[reportArgumentType]

            yield told

    def _lines(self) -> Callable[[str, int, int], None]:
        said, began = [time.monotonic()], [("", 0, 0.0)]

        def told(what: str, done: int, total: int) -> None:
            now = time.monotonic()
            if began[0][0] != what:  # the first batch includes the compilation: time from its end
                began[0] = (what, done, now)
            if now - said[0] < PLAIN_EVERY and done < total:
                return
            _, first, since = began[0]
            pace = (now - since) / (done - first) if done > first else 0.0
            left = f", about {pace * (total - done):.0f} s left" if pace and done < total else ""
            print(f"{what}: {done} of {total} paths{left}", file=self.err, flush=True)
            said[0] = now

        return told

    def answer(
        self,
        config: Config,
        study: Study,
        answers: Answers,
        second: list[Shadow],
        facts: dict,
        folder: Path,
    ) -> None:
        """The answer, then what it rests on."""
        if self.brief:
            return
        self.say(colour.paint(answers.sentence, colour.BOLD, self.out))
        self.say("")
        names = {e.name: e for e in answers.estimates}
        self.table(COLUMNS, [row(names[n]) for n in SHOWN if n in names], left=("note",))
        self.say(f"{words.differ(names)}; {words.NEGATIVE}.")
        for line in summary(study, answers, second, facts):
            self.say(line)
        self.say(f"the report: {folder / 'report.html'}")

    def fidelity(self, chosen: Fidelity) -> None:
        """Which accounts are simulated, and why, where that was to be decided."""
        if chosen.asked != "full":
            self.note(f"simulation.fidelity={chosen.asked}: runs {chosen.name}: {chosen.why}")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], left=()) -> None:
        """Cells under their columns, the first one to the left as those in `left`."""
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE, pad_edge=False)
        for name in columns:
            text = name in (columns[0], *left)
            table.add_column(name, justify="left" if text else "right", overflow="fold")
        for cells in rows:
            table.add_row(*map(Text, cells))
        drawn, terminal = io.StringIO(), self.out.isatty()  # `say` knows what the stream can carry
        width = None if terminal else WIDTH
        console = Console(file=drawn, width=width, force_terminal=terminal, highlight=False)
        console.print(table)
        self.say(drawn.getvalue().rstrip("\n"))


WIDTH = 160  # letters of a table that goes into a file or a pipe
COLUMNS = ("estimate", "value", "interval", "hits", "n", "note")
SHOWN = {
    "adl_probability": "P(intervention)",
    "depletion_probability": "P(fund runs dry)",
    "owner_pays_probability": "P(owner pays)",
    "unfunded_material_probability": "P(material unfunded loss)",
    "fund_target": "fund for interventions",
    "fund_target_within_history": "fund, no crash beyond history",
    "fund_target_depletion": "fund for a dry fund",
    "expected_haircut": "haircut of equity, mark",
    "expected_pnl_haircut": "haircut of profit, mark",
    "haircut_p99": "haircut of one account, p99",
    "accounts_hit": "accounts deleveraged",
    "adl_loss_mark": "ADL loss, mark, per crash with ADL",
    "adl_loss_index": "ADL loss, index",
    "adl_loss_5min": "ADL loss, 5 min later",
    "adl_loss_60min": "ADL loss, 60 min later",
    "adl_loss_horizon": "ADL loss, at the end",
    "winner_bankrupted": "accounts that ADL broke",
    "social_loss": "socialized loss",
    "unfunded": "unfunded loss",
    "fund_profit": "profit of first-loss capital",
    "owner_profit": "profit of owner",
    "provider_profit": "profit of outside providers",
    "excess_draw": "need beyond the fund",
    "leftover": "loss in inventory left",
}


def row(e: Estimate) -> list[str]:
    """One estimate as cells."""
    hits = "" if e.hits is None else str(e.hits)
    return [SHOWN[e.name], words.value(e), words.interval(e), hits, str(e.n), e.note]


def summary(study: Study, answers: Answers, second: list[Shadow], facts: dict) -> list[str]:
    """Level checks, the two engines, and the run's facts."""
    lines = []
    levels = answers.levels
    if levels:
        equal = bool(levels["adl_flags_equal"].all())
        text = "equal" if equal else "NOT equal (a rule binds that reads the fund otherwise)"
        lines.append(
            f"levels: first interventions of at least {int(levels['paths'].min())} paths at "
            f"{len(levels['capital'])} levels of F {text} to the curve, path by path"
        )
    names = {e.name: e for e in answers.estimates}
    more = (
        hinges.time_step(study, answers), bias.line(study, names), rare.line(study.sampling, names),
    )  # fmt: skip
    lines += [line for line in more if line]
    if second:
        lines.append(opinion(second, facts["paths"]))
    lines.append(
        f"run: {facts['paths']:,} paths, seed {facts['seed']}, {facts['precision']} on "
        f"{facts['devices']} x {facts['device']}, jax {facts['jax']}; ledger residual "
        f"{facts['ledger_residual']:.1e} of gross; {facts['elapsed_seconds']:.0f} s"
    )
    return lines


def opinion(second: list[Shadow], paths: int) -> str:
    """What exactly the reference engine repeated, and how it compared."""
    worst = max(one.difference for one in second)
    steps, of = (sum(getattr(one, name) for one in second) for name in ("steps", "of"))
    whose = "its" if len(second) == 1 else "their"
    return (
        f"second opinion: the reference engine repeated {len(second)} of {counted(paths, 'path')}, "
        f"{steps:,} of {whose} {counted(of, 'step')}; largest difference {worst:.1e} of gross"
    )
