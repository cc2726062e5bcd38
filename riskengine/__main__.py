"""The command `riskengine`."""

import gc
import os
import sys
from collections.abc import Sequence

HELP = """\
How likely is a perpetual-futures venue's insurance fund to run dry in a crash, and who pays then?

  riskengine                                       the default experiment, october_2025
  riskengine venue=binance simulation.seed=1       another venue, another seed
  riskengine -m venue.fund_pct=0.05,0.1,0.5        a sweep
  riskengine book=file book.path=positions.csv     your own positions (docs/files.md)
  riskengine experiment=small                      a look around, in about a minute

Tasks:
  task=run       simulate and estimate; leaves a folder with report.html (the default)
  task=replay    the same, where the scenario is recorded prices
  task=sensitivity
                 what a step of every lever changes: a table, a tornado chart and a page
  task=assumptions
                 the answer's band over law, depth, leverage and book, and what matters most in it
  task=calibrate capital, leverage caps and margins that meet the target (docs/calibration.md)
  task=doctor    check this machine, its packages and its arithmetic
  task=conformance vectors=FILE
                 evaluate venues' worked examples with the engine's formulas

Everything is set as KEY=VALUE; docs/config.md explains every key. Groups, each a choice of files:
{groups}
Options:
  -m, --multirun    run every combination of the values given
  --cfg             print the configuration and stop
  --version         print the version and stop
  -h, --help        print this and stop

Exit codes: 0 done, 1 a bug of ours, 2 wrong input, 3 environment, 4 an invariant failed, 5 run
folder busy, 6 calibrated but the target is not met, 130 or 143 interrupted (the same command goes
on).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    from riskengine.errors import InputError

    # Tracing makes millions of small objects, none of them garbage: a third of its time is the
    # collector's at its default threshold.
    gc.set_threshold(100_000, 20, 50)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest goes nowhere
        return 141
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except MemoryError:
        return _fail("out of memory: lower simulation.batch or book.accounts", 3)
    except BaseException as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            if isinstance(error, SystemExit):
                raise
            print("this is a bug in riskengine, please report what follows", file=sys.stderr)
            raise
        if code > 128:
            return _fail("interrupted; the same command goes on where it was", code)
        return _fail(str(error), code)


def _fail(message: str, code: int) -> int:
    from riskengine.app.colour import RED, paint

    line = " ".join(message.split())[:290]
    encoding = sys.stderr.encoding or "utf-8"
    begin = paint("error:", RED, sys.stderr)
    print(f"{begin} {line}".encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
    return code


def _run(given: list[str]) -> int:
    options = {a for a in given if a.startswith("-")}
    overrides = [a for a in given if not a.startswith("-")]
    if options & {"-h", "--help"}:
        from riskengine.app.colour import carried

        print(carried(_help(), sys.stdout))
        return 0
    if "--version" in options:
        import riskengine

        print(f"riskengine {riskengine.__version__}")
        return 0
    _check_options(options)
    if options & {"-m", "--multirun"}:
        return _sweep(overrides)
    return _one(overrides, "--cfg" in options)


def _check_options(options: set[str]) -> None:
    from riskengine.app.overrides import USAGE
    from riskengine.errors import InputError, printable

    unknown = sorted(options - {"-m", "--multirun", "--cfg"})
    if unknown:
        raise InputError(printable(unknown[0]), f"is not an option; {USAGE}")
    if "--cfg" in options and len(options) > 1:
        raise InputError("--cfg", "prints one configuration: leave out -m")


def _help() -> str:
    import textwrap

    from riskengine.app.overrides import GROUPS, comment, options

    lines = []
    for group in GROUPS:
        for name in options(group):
            said = textwrap.shorten(comment(group, name), 98 - 38, placeholder=" ...")
            lines.append(f"  {f'{group}={name}':<36}{said}")
        lines.append("")
    return HELP.replace("{groups}", "\n".join(lines).rstrip("\n") + "\n")


def _one(overrides: list[str], only_print: bool) -> int:
    from riskengine.app import configure, validate

    config = configure.load(overrides)
    validate.check(config)
    if only_print:
        import dataclasses

        import yaml

        print(yaml.safe_dump(dataclasses.asdict(config), sort_keys=False), end="")
        return 0
    if config.task == "conformance":
        from riskengine.app.conformance import task

        return task.run(config.vectors, print)
    from riskengine.app.show import Screen

    if config.task == "doctor":
        from riskengine.app import doctor

        return doctor.run(config, Screen())
    if config.task in ("sensitivity", "assumptions"):
        import importlib

        task = importlib.import_module(f"riskengine.app.{config.task}")
        task.run_task(config, Screen(), _command(overrides))
        return 0
    if config.task == "calibrate":
        from riskengine.app import calibrate

        return calibrate.run(config, Screen(), _command(overrides)).code
    if config.ranges:
        from riskengine.app import sweep

        return sweep.run([overrides], [config], overrides)
    from riskengine.app import run

    run.run(config, Screen(), _command(overrides))
    return 0


def _sweep(overrides: list[str]) -> int:
    """Every job is checked before the first one runs."""
    from riskengine.app import configure, validate
    from riskengine.app.overrides import is_launcher
    from riskengine.errors import InputError

    jobs = configure.jobs([o for o in overrides if not is_launcher(o)])
    configs = [configure.load(job) for job in jobs]
    for config in configs:
        validate.check(config)
        if config.task not in ("run", "replay"):
            raise InputError("task", "must be run or replay in a sweep", config.task)
    from riskengine.app import sweep

    return sweep.run(jobs, configs, overrides)


def _command(overrides: list[str]) -> str:
    import shlex

    return shlex.join(["riskengine", *overrides])


if __name__ == "__main__":
    sys.exit(main())
