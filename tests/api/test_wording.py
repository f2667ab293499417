import ast
import re
from pathlib import Path
from typing import Any

import pytest

import tune_encoder
from tune_encoder.api.wording import CALLS, for_python, in_python
from tune_encoder.cli.main import main
from tune_encoder.errors import ConfigError, error_line

PACKAGE = Path(tune_encoder.__file__).parent
# Of other programs, and commands that have no function in Python.
FOREIGN = re.compile(
    r"`(?:(?:ray|pip|optuna|sbatch) |tune-encoder (?:cluster|dashboard|serve|completion))[^`]*`"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("choose another --name or --storage", "choose another name or storage"),
        ("new voices: --folds 10", "new voices: folds=10"),
        ("resume it with --resume a/b.pt, or", 'resume it with resume="a/b.pt", or'),
        ("name it with --model-dir", "name it with model_dir"),
        ("too many; lower --lr", "too many; lower learning_rate"),
        ("--address x: write HOST", "address x: write HOST"),
        ("command line, budget: trials is 0", "f(), budget: trials is 0"),
        ("a--b and /x/--y stay", "a--b and /x/--y stay"),
        (
            "resume it with `tune-encoder resume mine --root 'my runs' --trials 8`",
            'resume it with `tune_encoder.resume("mine", root="my runs", trials=8)`',
        ),
        (
            "make one with `tune-encoder export mine`",
            'make one with `tune_encoder.Experiment("runs/mine").export()`',
        ),
        (
            "see `tune-encoder show mine --root /r 3`",
            'see `tune_encoder.Experiment("/r/mine").trial(3)`',
        ),
        (
            "`tune-encoder train --resume a/final.pt`",
            '`tune_encoder.train(resume="a/final.pt")`',
        ),
        (
            "`tune-encoder clone m a.wav b.wav -o out`",
            '`tune_encoder.clone("m", ["a.wav", "b.wav"], out="out")`',
        ),
        ("`tune-encoder data repair d --out NEW`", '`tune_encoder.repair_data("d", out="NEW")`'),
        (
            "`tune-encoder logs mine --address http://h:1`",
            '`tune_encoder.Client("http://h:1").logs("mine")`',
        ),
        ("list them with `tune-encoder jobs`", "list them with `tune_encoder.Client().jobs()`"),
        ("the `--checkpoint-dir` of a `train`", "the `checkpoint_dir` of a `train`"),
        ("`resume --accept-data-change`", "`resume(accept_data_change=True)`"),
        ("run `pause` again", "run `Experiment.pause` again"),
        (
            "start one with `tune-encoder cluster start`",
            "start one with `tune-encoder cluster start`",
        ),
        ("`ray start --address HOST:PORT` here", "`ray start --address HOST:PORT` here"),
        ("the file `it's`", "the file `it's`"),
    ],
)
def test_options_become_arguments_and_commands_become_calls(words, said):
    assert in_python(words, "f()") == said


def test_a_run_by_hand_is_opened_as_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "config.yaml").write_text("{}\n")
    (tmp_path / "checkpoints" / "final_checkpoint.pt").touch()

    said = in_python("`tune-encoder export checkpoints`", "f()")

    assert said == '`tune_encoder.Run("checkpoints").export()`'


@for_python
def refuse(words):
    raise ConfigError(words)


@for_python
def ask_another(words):
    refuse(words)


def test_an_error_has_the_words_of_python_and_keeps_those_of_the_command_line():
    with pytest.raises(ConfigError, match=r"^refuse\(\): see trials$") as caught:
        ask_another("command line: see --trials")

    assert error_line(caught.value) == "command line: see --trials"


def test_the_command_line_prints_its_own_words(tmp_path, capsys):
    arguments = ["portfolio", "mine", "--size", "-1", "--root", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert capsys.readouterr().err == "tune-encoder: --size is -1; give at least 1\n"


def strings_of(path):
    """The strings of a module, with X where a value is put in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def errors_with_options():
    modules = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "cli"]
    return sorted({text for path in modules for text in strings_of(path) if " --" in text})


def test_no_message_of_the_library_names_an_option_in_python():
    found = errors_with_options()

    left = [FOREIGN.sub("", in_python(text, "f()")) for text in found]

    assert len(found) > 30
    assert [text for text in left if " --" in text] == []


def test_every_call_exists():
    for call in CALLS.values():
        value: Any = tune_encoder
        for name in call.name.split("."):
            value = getattr(value, name)
        assert value.__doc__, call.name
