"""Errors for a reader of Python: arguments instead of options, calls instead of commands.

The library words its errors for the command line, whose names it shares: an option `--total-epochs`
is the argument `total_epochs`. Where an error leaves the functions that a notebook calls, its words
become those of Python; the command line still prints them as they were.
"""

import functools
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from tune_encoder.config import DEFAULT_ROOT
from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment.run import find_run

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


class Call(NamedTuple):
    """What does in Python what a command does."""

    name: str
    """A name of `tune_encoder`, or of `Experiment` or `Client`, such as `Experiment.export`."""
    listed: int | None = None
    """The place of the first positional argument that is a list of all that follow."""


CALLS = {
    "search": Call("search"),
    "resume": Call("resume"),
    "fork": Call("fork"),
    "submit": Call("Client.submit"),
    "jobs": Call("Client.jobs"),
    "logs": Call("Client.logs"),
    "list": Call("experiments"),
    "status": Call("Experiment.status"),
    "show": Call("Experiment.trial"),
    "best": Call("Experiment.best"),
    "compare": Call("compare", 0),
    "stop": Call("Experiment.stop"),
    "pause": Call("Experiment.pause"),
    "kill-trial": Call("Experiment.kill_trial"),
    "add": Call("Experiment.add"),
    "repair": Call("repair"),
    "export": Call("Experiment.export"),
    "verify": Call("verify"),
    "retrain": Call("Experiment.retrain"),
    "report": Call("Experiment.report"),
    "track": Call("Experiment.track"),
    "importance": Call("Experiment.importance"),
    "confirm": Call("Experiment.confirm"),
    "clone": Call("clone", 1),
    "listen": Call("listen", 1),
    "evaluate": Call("evaluate"),
    "train": Call("train"),
    "data demo": Call("demo_data"),
    "data generate": Call("generate_data"),
    "data import": Call("import_data"),
    "data check": Call("check_data"),
    "data repair": Call("repair_data"),
    "plan": Call("plan"),
    "portfolio": Call("portfolio", 0),
}
"""The call of each command that has one."""
_PROGRAM = "tune-encoder"
_PROPERTIES = ("Experiment.best",)
_ARGUMENTS = {  # where an option has another name than its argument
    "lr": "learning_rate",
    "gpus": "processes",
    "o": "out",
    "f": "follow",
}
_SPAN = re.compile(r"`([^`]+)`")
_OPTION = re.compile(
    r"(?<![\w/.-])--([a-z][a-z0-9-]*)(?: (\d+(?![\w.:])|[A-Z]+\b|[^\s,;:'\"]*/[^\s,;:'\"]+))?"
)
_COMMAND_LINE = re.compile(r"^command line(?=[,:])")


@contextmanager
def python_words(caller: str) -> Iterator[None]:
    """Word the errors that leave the block for Python.

    Args:
        caller: The function that was called, such as "search()".
    """
    try:
        yield
    except TuneEncoderError as error:
        error.on_command_line = error.on_command_line or str(error)
        error.args = (in_python(str(error), caller), *error.args[1:])
        raise


def for_python(function: Callable[P, R]) -> Callable[P, R]:
    """Word the errors of a function for Python."""
    caller = f"{_name_of(function)}()"

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def iterate(*args: P.args, **kwargs: P.kwargs) -> Any:
            with python_words(caller):
                yield from function(*args, **kwargs)

        return iterate

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with python_words(caller):
            return function(*args, **kwargs)

    return call


def _name_of(function: Callable[..., object]) -> str:
    """Return the name that a caller writes: that of the class for its constructor."""
    kind, _, name = function.__qualname__.rpartition(".")
    return kind if name == "__init__" else name


def methods_for_python(kind: C) -> C:
    """Word the errors of the public methods and properties of a class for Python."""
    for name, member in vars(kind).copy().items():
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, property) and member.fget is not None:
            setattr(kind, name, property(for_python(member.fget), doc=member.__doc__))
        elif inspect.isfunction(member):
            setattr(kind, name, for_python(member))
    return kind


def in_python(words: str, caller: str) -> str:
    """Return words of the command line with Python's names.

    Example:
        >>> in_python("taken; resume it with `tune-encoder resume mine --trials 8`", "search()")
        'taken; resume it with `tune_encoder.resume("mine", trials=8)`'
        >>> in_python("command line, budget: trials is 0; see --total-epochs", "search()")
        'search(), budget: trials is 0; see total_epochs'

    Args:
        words: A message that may name options and commands.
        caller: The function that was called, such as "search()".
    """
    text, *rest = _SPAN.split(_COMMAND_LINE.sub(caller, words))
    said = [_OPTION.sub(_argument, text)]
    for span, text in zip(rest[::2], rest[1::2], strict=True):
        # A command of another program stays as it is.
        code = _OPTION.sub(_argument, span) if span.startswith("--") else _call_of(span)
        said += [f"`{code}`", _OPTION.sub(_argument, text)]
    return "".join(said)


def _argument(option: "re.Match[str]") -> str:
    name, value = _argument_name(option[1]), option[2]
    if value is None:
        return name
    return f"{name}={json.dumps(value) if '/' in value else value}"


def _argument_name(flag: str) -> str:
    return _ARGUMENTS.get(flag, flag.replace("-", "_"))


def _call_of(span: str) -> str:
    """Return the call that does what a command does; any other span as it is."""
    try:
        words = shlex.split(span)
    except ValueError:  # an apostrophe
        return span
    is_whole = words[0:1] == [_PROGRAM]
    words = words[is_whole:]
    name = next((name for name in (" ".join(words[:2]), " ".join(words[:1])) if name in CALLS), "")
    given = words[len(name.split()) :]
    if not name or not (is_whole or not given or given[0].startswith("--")):
        return span
    call = CALLS[name]
    if not is_whole:
        more = ", ".join(_keywords(given)[1])
        return f"{call.name}({more})" if more else call.name
    return _written(call, *_keywords(given))


def _keywords(words: list[str]) -> tuple[list[str], list[str]]:
    """Divide the words of a command into positional arguments and `name=value`."""
    positional: list[str] = []
    keywords: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            positional.append(word)
            continue
        has_value = bool(rest) and not rest[0].startswith("-")
        value = _literal(rest.pop(0)) if has_value else "True"
        keywords.append(f"{_argument_name(word.lstrip('-'))}={value}")
    return positional, keywords


def _literal(word: str) -> str:
    return word if re.fullmatch(r"-?\d+(\.\d+)?", word) else json.dumps(word, ensure_ascii=False)


def _written(call: Call, positional: list[str], keywords: list[str]) -> str:
    """Write a call; that of an experiment's method begins with its path."""
    kind, _, method = call.name.rpartition(".")
    if kind == "Client":
        address = next((each for each in keywords if each.startswith("address=")), "")
        rest = [each for each in keywords if each != address]
        arguments = [*map(_literal, positional), *rest]
        client = f"Client({address.removeprefix('address=')})"
        return f"tune_encoder.{client}.{method}({', '.join(arguments)})"
    if kind != "Experiment" or not positional:
        split = len(positional) if call.listed is None else call.listed
        arguments = [_literal(word) for word in positional[:split]]
        if positional[split:]:
            arguments.append(_listed(positional[split:]))
        return f"tune_encoder.{call.name}({', '.join([*arguments, *keywords])})"
    name, *rest = positional
    root = next((each for each in keywords if each.startswith("root=")), None)
    folder = Path(json.loads(root.removeprefix("root=")) if root else DEFAULT_ROOT)
    run = find_run(folder, name)
    opened = (
        f"Run({_literal(str(run.path))})" if run else f"Experiment({_literal(f'{folder / name}')})"
    )
    if call.name in _PROPERTIES:
        return f"tune_encoder.{opened}.{method}"
    arguments = [*map(_literal, rest), *(each for each in keywords if each is not root)]
    return f"tune_encoder.{opened}.{method}({', '.join(arguments)})"


def _listed(words: list[str]) -> str:
    """Return several words as a list, and a single one as itself."""
    literals = [_literal(word) for word in words]
    return literals[0] if len(literals) == 1 else f"[{', '.join(literals)}]"
