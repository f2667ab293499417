import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import make_search, new_experiment, parse_space
from tune_encoder.cli import main, make_parser
from tune_encoder.cli.completion import add_completers

ANSWERED_S = 60  # the longest a loaded machine may take to answer a TAB
CODE = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path[1:]])}
SPACE = parse_space({"space": {"dropout": {"float": [0.0, 0.4]}}})


ASK = """
import io, json, os, sys
from argcomplete import CompletionFinder
from tune_encoder.cli import make_parser
from tune_encoder.cli.completion import add_completers

class Answered(Exception):
    pass

def stop(code):
    raise Answered

os.environ |= {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\\n", "_ARGCOMPLETE_SHELL": "bash"}
answers = {}
for line in json.load(sys.stdin):
    os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    parser, answer = make_parser(), io.StringIO()
    add_completers(parser)
    try:
        CompletionFinder()(
            parser, always_complete_options=False, exit_method=stop, output_stream=answer
        )
    except Answered:
        words = answer.getvalue().split("\\n")
        answers[line] = sorted(each.strip() for each in words if each)
print(json.dumps(answers))
"""
LINES = {
    "tune-encoder sta": ["status"],
    "tune-encoder data rep": ["repair"],
    "tune-encoder search --json": ["--json-lines"],
    "tune-encoder clone --device ": ["auto", "cpu", "cuda", "mps"],
    "tune-encoder resume ": ["mine", "other"],
    "tune-encoder resume --root else\\ where ": ["third"],
    "tune-encoder compare mine o": ["other"],
    "tune-encoder search --warm-start m": ["mine"],
    "tune-encoder show mine ": ["0", "1"],
    "tune-encoder export mine --trial ": ["0", "1"],
    "tune-encoder status v": ["voices/"],
    "tune-encoder space o": ["own.yaml"],
    "tune-encoder search --space qu": ["quick"],
    "tune-encoder guide sea": ["searching"],
    "tune-encoder search --data-dir v": ["voices/"],
    "tune-encoder completion ": ["bash", "fish", "zsh"],
    "tune-encoder search --name ": [],
    "tune-encoder search --trials ": [],
    "tune-encoder show none ": [],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two searches under its root, one in another root, a space and a data set."""
    folder = tmp_path_factory.mktemp("place")
    trials = [("COMPLETE", {"dropout": 0.1}, [0.5]), ("PRUNED", {"dropout": 0.2}, [0.9])]
    make_search(folder / "runs", SPACE, trials, "mine")
    new_experiment(folder / "runs", "other", SPACE)
    new_experiment(folder / "else where", "third", SPACE)
    (folder / "own.yaml").write_text("space: {}\n")
    (folder / "voices").mkdir()
    return folder


@pytest.fixture(scope="module")
def answers(place):
    """What each line may go on with; in a process of its own, as argcomplete closes its files."""
    asked = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(list(LINES)), cwd=place,
        env={**os.environ, **CODE}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


@pytest.mark.parametrize(("line", "words"), LINES.items())
def test_a_line_is_completed_with_what_there_is(answers, line, words):
    assert answers[line] == words


def test_every_argument_of_every_command_has_a_completer():
    parser = make_parser()

    add_completers(parser)

    assert not [each for each in arguments_of(parser) if not hasattr(each, "completer")]


def arguments_of(parser):
    for action in parser._actions:
        if action.__class__.__name__ == "_SubParsersAction":
            for command in action.choices.values():
                yield from arguments_of(command)
        elif action.nargs != 0 and action.choices is None:
            yield action


# --- in real shells ------------------------------------------------------------------------------


@pytest.fixture
def program(place, tmp_path, monkeypatch):
    """`tune-encoder` on the path of every shell, in that folder."""
    file = tmp_path / "tune-encoder"
    file.write_text(f'#!/bin/sh\nexec {sys.executable} -m tune_encoder "$@"\n')
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", CODE["PYTHONPATH"])
    monkeypatch.chdir(place)


def shell_or_skip(name):
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here; apt-get install {name}")
    return name


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


ZSH = """unset zle_bracketed_paste; PS1=; autoload -Uz compinit; compinit -u
eval "$(tune-encoder completion zsh)"; print REA''DY
"""
BASH = """
eval "$(tune-encoder completion bash)"
COMP_LINE="$1"; COMP_POINT=${#1}; COMP_TYPE=9
_python_argcomplete tune-encoder
printf '%s\\n' "${COMPREPLY[@]}"
complete -p tune-encoder
"""


@pytest.mark.parametrize(
    ("line", "word"), [("tune-encoder sta", "status "), ("tune-encoder resume m", "mine ")]
)
def test_bash_completes_commands_and_names(program, line, word):
    answer, registered = run(shell_or_skip("bash"), "-c", BASH, "bash", line).splitlines()

    assert answer == word
    assert "-F _python_argcomplete tune-encoder" in registered


def test_fish_completes_commands_with_what_they_do(program):
    script = 'tune-encoder completion fish | source; complete -C "tune-encoder sta"'

    assert run(shell_or_skip("fish"), "--no-config", "-c", script).startswith("status\tShow the ")


def test_zsh_completes_at_a_tab(program):
    shell_or_skip("zsh")
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        os.write(terminal, ZSH.encode())
        shown_until(terminal, b"READY")
        os.write(terminal, b"tune-encoder sta\t")
        shown_until(terminal, b"tune-encoder status")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def shown_until(terminal, words):
    """Read what the terminal shows until it shows the words."""
    shown = b""
    while words not in shown:
        assert select.select([terminal], [], [], ANSWERED_S)[0], shown
        shown += os.read(terminal, 65536)


def test_an_answer_to_a_shell_loads_neither_torch_nor_ray(place, tmp_path):
    line = "tune-encoder show mine "
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)),
             "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "answer")}  # fmt: skip

    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tune_encoder"],
        cwd=place, env={**os.environ, **CODE, **asked}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert (tmp_path / "answer").read_text().split("\v") == ["0", "1"]
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tune_encoder.experiment.trials" in loaded
    assert not loaded & {"torch", "ray", "optuna", "pandas", "rich", "matplotlib"}


def test_without_the_library_completion_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "argcomplete.shell_integration", None)

    with pytest.raises(SystemExit) as ended:
        main(["completion", "bash"])

    assert ended.value.code == 2
    assert "install it with `pip install 'tune-encoder[completion]'`" in capsys.readouterr().err
