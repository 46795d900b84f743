"""The `encore` command. Nothing heavy is imported before a command is known to need it."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.options import Options

HELP = """\
Encore retrains recommenders every night and only lets a better one out.

usage: encore COMMAND [--config=FILE.yaml] [--section.field=value ...] [--json=FILE]

commands
  retrain      the whole night once: ingest, validate, split, sample, train, evaluate, promote, recommend
  compare      several models on one snapshot and split: --models=bpr_mf,ease --seeds=0,1; a leaderboard
  tune         a search for better settings of one model: --model.name=mind --trials=20; ends with a night
  recommend    the champion's top K for all users, or for --recommend.users=1,2,3, to Parquet
  inspect      profiles a file, proposes its columns and a configuration: encore inspect PATH
  quarantine   lists refused rows; --export=FILE to mend them, --take=FILE to take them in again
  erase        removes a person from all that is kept: encore erase USER
  history      what was champion when, and why
  promote      a person lets a version out: encore promote VERSION --reason=...
  rollback     back to the champion before, or --to=VERSION; its lists are published again
  freeze       no night changes the champion until encore freeze --lift
  reproduce    makes a version once more and compares every figure: encore reproduce VERSION
  diff         two versions or runs beside each other, as a page: encore diff VERSION VERSION
  gc           removes what is old and no champion needs; --dry_run only lists it
  up           Prefect server, MLflow server and a worker on this machine, deployments applied

`encore COMMAND --help` lists every option with its default. Examples:

  encore retrain
  encore retrain --ingest.interactions='logs/*.csv' --ingest.columns='{who: user_id, what: item_id}'
  encore retrain --model.name=bpr_mf --model.dim=128 --trainer.epochs=100 --json=night.json
  encore compare --models=item_knn,ease,bpr_mf --seeds=0,1,2
  encore inspect logs/ --write=shop

Exit status: 0 ran, 1 failed (disk, network), 2 wrong options or paths, 3 the data was refused.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("encore"))
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        print(f"encore: unknown command {words[0]!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    from flows.command import run_command

    return run_command(words[0], command, words[1:])


def _retrain(options: "Options[Any]", started: float) -> dict[str, Any]:
    from flows.start import retrain_or_skip

    return retrain_or_skip(options.config, options.settings, started)


def _compare(options: "Options[Any]", started: float) -> dict[str, Any]:
    from flows.start import compare_and_show

    return compare_and_show(options.config, options.settings)


def _recommend(options: "Options[Any]", started: float) -> dict[str, Any]:
    from flows.start import recommend_and_show

    return recommend_and_show(options.config, options.settings)


def _tune(options: "Options[Any]", started: float) -> dict[str, Any]:
    from flows.start import tune_and_show

    return tune_and_show(options.config, options.settings)


def _look_after(module: str, name: str) -> "Callable[[Options[Any], float], dict[str, Any]]":
    """A command without steps: `flows.<module>` has a function of its name, and `show_<name>` for the terminal."""

    def run(options: "Options[Any]", started: float) -> dict[str, Any]:
        from importlib import import_module

        home = import_module(f"flows.{module}")
        result: dict[str, Any] = getattr(home, name)(options.config, options.settings)
        getattr(home, f"show_{name}")(result)
        return result

    return run


def _up(options: "Options[Any]", started: float) -> dict[str, Any]:
    from flows.up import up

    return up(options.settings)


COMMANDS: dict[str, Callable[["Options[Any]", float], dict[str, Any]]] = {
    "retrain": _retrain,
    "compare": _compare,
    "recommend": _recommend,
    "tune": _tune,
    "inspect": _look_after("inspect", "inspect"),
    "quarantine": _look_after("stewardship", "quarantine"),
    "erase": _look_after("stewardship", "erase"),
    "history": _look_after("champions", "history"),
    "promote": _look_after("champions", "promote"),
    "rollback": _look_after("champions", "rollback"),
    "freeze": _look_after("champions", "freeze"),
    "reproduce": _look_after("reproduce", "reproduce"),
    "diff": _look_after("diff", "diff"),
    "gc": _look_after("gc", "gc"),
    "up": _up,
}
