"""The command `riskengine`."""

import os
import sys
from collections.abc import Sequence

HELP = """\
How likely is a perpetual-futures venue's insurance fund to run dry in a crash, and who pays then?

  riskengine                                       the default experiment, october_2025
  riskengine venue=binance simulation.seed=1       another venue, another seed
  riskengine -m venue.fund_pct=0.05,0.1,0.5        a sweep
  riskengine book=file book.path=positions.csv     your own positions (docs/files.md)

Everything is set as KEY=VALUE; docs/config.md explains every key. Groups:
{groups}
Options:
  -m, --multirun    run every combination of the values given
  --cfg             print the configuration and stop
  --version         print the version and stop
  -h, --help        print this and stop

Exit codes: 0 done, 1 a bug of ours, 2 wrong input, 3 environment, 4 an invariant failed, 5 run
folder busy, 130 or 143 interrupted (the same command goes on).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    from riskengine.errors import InputError

    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except InputError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # what is buffered goes nowhere
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
            print("this is a bug in riskengine, please report it with what follows", file=sys.stderr)
            raise
        if code > 128:
            return _fail("interrupted; the same command goes on where it was", code)
        return _fail(str(error), code)


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())[:290]
    encoding = sys.stderr.encoding or "utf-8"
    print(f"error: {line}".encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
    return code


def _run(given: list[str]) -> int:
    options = {a for a in given if a.startswith("-")}
    overrides = [a for a in given if not a.startswith("-")]
    if options & {"-h", "--help"}:
        print(_help())
        return 0
    if "--version" in options:
        import riskengine

        print(f"riskengine {riskengine.__version__}")
        return 0
    unknown = options - {"-m", "--multirun", "--cfg"}
    if unknown:
        from riskengine.errors import InputError

        raise InputError(sorted(unknown)[0], "is not an option; usage: riskengine [-m] [KEY=VALUE ...]")
    if options & {"-m", "--multirun"}:
        return _sweep(overrides)
    return _one(overrides, "--cfg" in options)


def _help() -> str:
    from riskengine.app.configure import CONF, GROUPS

    lines = []
    for group in GROUPS:
        names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        lines.append(f"  {group:<12}{', '.join(names)}")
    return HELP.replace("{groups}", "\n".join(lines) + "\n")


def _one(overrides: list[str], only_print: bool) -> int:
    from riskengine.app import configure, validate

    config = configure.load(overrides)
    validate.check(config)
    if only_print:
        import dataclasses

        import yaml

        print(yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True), end="")
        return 0
    from riskengine.app import run
    from riskengine.app.show import Screen

    run.run(config, Screen(), _command(overrides))
    return 0


def _sweep(overrides: list[str]) -> int:
    """Every job is checked before the first one runs."""
    from riskengine.app import configure, validate

    jobs = configure.jobs([o for o in overrides if not o.startswith("hydra/launcher")])
    configs = [configure.load(job) for job in jobs]
    for config in configs:
        validate.check(config)
    from riskengine.app import sweep

    return sweep.run(jobs, configs, overrides)


def _command(overrides: list[str]) -> str:
    import shlex

    return shlex.join(["riskengine", *overrides])


if __name__ == "__main__":
    sys.exit(main())
