"""completion: lets a shell complete commands, options, and the names of what there is.

The library is argcomplete: it knows bash, zsh and fish, and asks this program at each TAB, so that
also experiments and trials are completed. What is asked then loads neither torch nor Ray.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tune_encoder.cli.common import Commands, add_command
from tune_encoder.config import DEFAULT_ROOT
from tune_encoder.errors import ConfigError, TuneEncoderError

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "tune-encoder"
_INSTALL = "pip install 'tune-encoder[completion]'"
_ASKED = "_ARGCOMPLETE"  # set by what the shell runs at a TAB
_KNOWING_RUNS = {"status", "export"}  # these also take a run of `train`
Completer = Callable[..., Iterable[str]]
"""Called with the keywords `prefix`, `action`, `parser` and `parsed_args`."""


def add_completion(commands: Commands) -> None:
    """Add the command `completion`."""
    parser = add_command(commands, "completion", _completion)
    parser.add_argument("shell", choices=SHELLS, help="shell to print it for")


def _completion(options: argparse.Namespace) -> None:
    """Print what lets a shell complete commands, options and names."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError as error:
        raise ConfigError(f"completion needs argcomplete; install it with `{_INSTALL}`") from error
    print(shellcode([PROGRAM], shell=options.shell))


def complete_if_asked(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks how a line may continue, and end the process; else do nothing."""
    if _ASKED not in os.environ:
        return
    from argcomplete import autocomplete

    add_completers(parser)
    autocomplete(parser, always_complete_options=False)


def add_completers(parser: argparse.ArgumentParser) -> None:
    """Give every argument of a program and its commands what completes it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                add_completers(command)
        elif action.choices is None and action.nargs != 0:
            action.completer = _completer(parser, action)  # type: ignore[attr-defined]


def _completer(parser: argparse.ArgumentParser, action: argparse.Action) -> Completer:
    """Return what completes an argument; a new name or a number is not completed."""
    known: dict[str, Completer] = {
        "space": _spaces,
        "file": _spaces,
        "topic": _topics,
        "trial": _trials,
        "warm_start": _experiments,
        "compare": _experiments,
    }
    found: Completer = _files if action.type is Path else _nothing
    if action.dest in known:
        found = known[action.dest]
    elif action.dest in ("name", "names") and not action.option_strings:
        found = _experiments
        if _command(parser) in _KNOWING_RUNS:
            found = _experiments_and_runs
    return _forgiving(found)


def _forgiving(completer: Completer) -> Completer:
    """Return a completer that offers nothing where the line is wrong: the command will say it."""

    def offer(**asked: Any) -> Iterable[str]:
        try:
            return list(completer(**asked))
        except (TuneEncoderError, OSError):
            return []

    return offer


def _command(parser: argparse.ArgumentParser) -> str:
    return parser.prog.split()[-1]


def _root(parsed_args: argparse.Namespace) -> Path:
    return Path(getattr(parsed_args, "root", DEFAULT_ROOT))


def _experiments(*, parsed_args: argparse.Namespace, **asked: Any) -> list[str]:
    from tune_encoder.experiment.folder import list_experiments

    return [experiment.name for experiment in list_experiments(_root(parsed_args))]


def _experiments_and_runs(*, parsed_args: argparse.Namespace, **asked: Any) -> list[str]:
    from argcomplete.completers import DirectoriesCompleter

    from tune_encoder.experiment.run import list_runs

    runs = [run.name for run in list_runs(_root(parsed_args))]
    folders = DirectoriesCompleter()(asked["prefix"])
    return [*_experiments(parsed_args=parsed_args), *runs, *folders]


def _trials(*, parsed_args: argparse.Namespace, **asked: Any) -> list[str]:
    from tune_encoder.experiment.folder import open_experiment

    experiment = open_experiment(_root(parsed_args), parsed_args.name)
    return [str(trial.number) for trial in experiment.trials(())]


def _spaces(*, prefix: str, **asked: Any) -> Iterator[str]:
    from argcomplete.completers import FilesCompleter

    from tune_encoder.space import builtin_spaces

    yield from builtin_spaces()
    yield from FilesCompleter(("yaml", "yml"))(prefix)


def _topics(**asked: Any) -> list[str]:
    from tune_encoder.cli.guide import guides

    return list(guides())


def _files(*, prefix: str, **asked: Any) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter()(prefix))


def _nothing(**asked: Any) -> tuple[str, ...]:
    return ()
