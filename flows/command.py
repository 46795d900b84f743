"""What every command has in common: options, result file, one line for an error, the exit status."""

import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.environment import set_defaults
from tasks.errors import ConfigError, EncoreError, RunFailed
from tasks.store.atomic import write_json

if TYPE_CHECKING:
    from flows.options import Options


def run_command(name: str, command: "Callable[[Options[Any], float], dict[str, Any]]", words: Sequence[str]) -> int:
    """Parses, runs, reports. Writes the result file on failure too. Returns the exit status."""
    started = process_start()
    set_defaults(on_terminal=True)
    result_file: str | None = None
    try:
        from flows.commands import POSITIONAL
        from flows.options import parse, read_options

        if {"-h", "--help"} & set(words):
            print_help(name)
            return 0
        flags = parse(words, POSITIONAL.get(name, ()))
        config_file = named_file(flags, "config")
        result_file = named_file(flags, "json")
        result = command(read_options(flags, config_file, name), started)
    except KeyboardInterrupt:
        return _stopped(result_file)
    except EncoreError as error:
        return _failed(error, result_file)
    except BrokenPipeError:  # `encore retrain --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _failed(_explained(error), result_file)
    except Exception as error:  # noqa: BLE001  (the last line of defence: a bug is shown whole, and reported)
        if was_stopped(error):
            return _stopped(result_file)
        traceback.print_exc()
        bug = RunFailed(f"{type(error).__name__}: {error}", "this is a fault in Encore: please report it")
        return _failed(bug, result_file)
    return _write_result(result, result_file)


def was_stopped(error: BaseException) -> bool:
    """Whether it is Ctrl-C; where that comes inside a compiled kernel, Python makes a SystemError of it."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)


def named_file(flags: dict[str, str], option: str) -> str | None:
    """Takes the file that an option names out of the flags. Raises ConfigError at once, not after the night."""
    text = flags.pop(option, None)
    if text in ("", "true"):  # a lone --json is true
        raise ConfigError(f"--{option} names no file", f"write --{option}=FILE")
    if text is not None and Path(text).expanduser().is_dir():
        raise ConfigError(f"--{option}={text} is a folder", f"write --{option}=FILE")
    return text


def print_help(command: str) -> None:
    """Every option with its default, by section, as wide as the terminal."""
    from flows.commands import POSITIONAL
    from flows.options import options_of

    told = "--models=NAME,NAME " if command == "compare" else ""
    told += "".join(f"{word.upper()} " for word in POSITIONAL.get(command, ()))
    print(f"usage: encore {command} {told}[--config=FILE.yaml] [--section.field=value ...] [--json=FILE]\n")
    print("  --config=FILE.yaml  the same names as sections and fields; flags go before it")
    print("  --json=FILE         write the result there, on failure too")
    width = min(shutil.get_terminal_size().columns, 120)
    section = None
    for option, default, text in options_of(command):
        if (head := option.rpartition(".")[0]) != section:
            print(f"\n{head}" if head else "")
            section = head
        print(f"  --{option}" + (f"={default}" if default else ""))
        print(textwrap.fill(text, width, initial_indent=" " * 8, subsequent_indent=" " * 8))


def _stopped(result_file: str | None) -> int:
    return _failed(RunFailed("stopped by Ctrl-C", "run it again: it goes on where it was"), result_file, status=130)


def _failed(error: EncoreError, result_file: str | None, status: int | None = None) -> int:
    print(f"encore: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"        {error.hint}", file=sys.stderr)
    told = {"kind": error.kind, "message": error.message, "hint": error.hint}
    content = {**getattr(error, "result", {}), "error": told}
    if report := getattr(error, "report", None):
        content["error"]["report"] = report
    _let_go(sys.exception())
    written = _write_result(content, result_file)
    return written or (error.exit_status if status is None else status)


def _let_go(error: BaseException | None) -> None:
    """Empties the frames that an error came through: Prefect keeps it until Python ends, and a connection of DuckDB
    that lives by then is reported as a leak, many lines below the one that counts."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _write_result(content: dict[str, Any], result_file: str | None) -> int:
    if result_file is None:
        return 0
    try:
        write_json(Path(result_file).expanduser(), content)
    except OSError as error:
        print(f"encore: the result file {result_file} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _explained(error: OSError) -> EncoreError:
    """Disk and permission errors as one line that names the path."""
    place = f": {error.filename}" if error.filename else ""
    hints = {
        13: "give this user the right to write there, or set --data_dir=FOLDER",
        28: "free some space, or set --data_dir=FOLDER on another disk",
        30: "the file system is read-only: set --data_dir=FOLDER",
    }
    return RunFailed(
        f"{os.strerror(error.errno) if error.errno else error}{place}",
        hints.get(error.errno or 0, "check the path and its permissions"),
    )


def process_start() -> float:
    """When this process began, in seconds since 1970: imports count too."""
    import psutil

    return float(psutil.Process(os.getpid()).create_time())
