"""The README and the guides against the program: commands, options, links, and what can be run."""

import argparse
import ast
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml

import tune_encoder
from tests.builders import make_search
from tune_encoder.api.wording import CALLS
from tune_encoder.cli import main, make_parser
from tune_encoder.cli.guide import about, guides
from tune_encoder.data.demo import make_demo
from tune_encoder.data.samples import read_sample
from tune_encoder.space import find_space, load_space, parse_space

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tune_encoder"
README = ROOT / "README.md"
BENCHMARKS = ROOT / "tests" / "benchmarks"
GUIDES = sorted(guides().values())
PAPERS = [README, *GUIDES, BENCHMARKS / "README.md"]
INSTALLING = 2  # blocks of the README that a person, and .ci/run, run in a new environment
MOST_LINES = 200

each_paper = pytest.mark.parametrize(
    "paper", PAPERS, ids=[str(path.relative_to(ROOT)) for path in PAPERS]
)


# --- reading a paper -----------------------------------------------------------------------------


def fenced(paper, language):
    """The lines of each block that begins with ``` and the language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", paper.read_text(), re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in found]


def without_fences(paper):
    return re.sub(r"^```.*?^```$", "", paper.read_text(), flags=re.MULTILINE | re.DOTALL)


def indented(paper):
    return [line.strip() for line in without_fences(paper).splitlines() if line.startswith("    ")]


def spans(paper):
    """What is set as code within a line; a span may be broken over two."""
    text = re.sub(r"^    .*$", "", without_fences(paper), flags=re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def runnable(paper):
    blocks = fenced(paper, "sh")
    return blocks[INSTALLING:] if paper == README else blocks


def block_commands(paper):
    """The arguments of each command that stands in a block."""
    lines = [line for block in fenced(paper, "sh") for line in block] + indented(paper)
    found = [re.search(r"(?:^|/)tune-encoder (.+)$", line) for line in lines]
    return [shlex.split(each[1], comments=True) for each in found if each]


def span_commands(paper):
    """The arguments of each command within a line, whole or begun, with the program or without."""
    commands = subparsers(make_parser())
    found = [span.removeprefix("tune-encoder ").split() for span in spans(paper)]
    named = [span.startswith("tune-encoder ") for span in spans(paper)]
    return [
        words
        for words, whole in zip(found, named, strict=True)
        if whole or (words[0] in commands and len(words) > 1)
    ]


# --- reading the parser --------------------------------------------------------------------------


def subparsers(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def options_of(parser):
    return {option for action in parser._actions for option in action.option_strings}


def leaves(parser, name=()):
    """Every command, such as ("data", "check"), and its parser."""
    found = subparsers(parser)
    if not found:
        return {name: parser}
    return {key: leaf for word in found for key, leaf in leaves(found[word], (*name, word)).items()}


def problems(words):
    """What a command that may be only begun has that the program has not."""
    parser = make_parser()
    known = options_of(parser)
    for word in words:
        if word.startswith("-") and not re.fullmatch(r"-\d.*", word):
            if word.partition("=")[0] not in known:
                yield f"{word} in {shlex.join(words)}"
        elif (found := subparsers(parser)) and word not in ("...", "TOPIC"):
            if word not in found:
                yield f"{word} in {shlex.join(words)}"
                return
            parser = found[word]
            known = options_of(parser)


# --- commands and options ------------------------------------------------------------------------


@each_paper
def test_every_command_in_a_block_parses(paper):
    for words in block_commands(paper):
        assert not list(problems(words))  # argparse takes the beginning of an option for the whole
        assert make_parser().parse_args(words).command


@each_paper
def test_every_command_within_a_line_exists_and_takes_its_options(paper):
    assert not [problem for words in span_commands(paper) for problem in problems(words)]


@each_paper
def test_every_option_exists_in_some_command(paper):
    known = {option for leaf in leaves(make_parser()).values() for option in options_of(leaf)}
    known |= options_of(make_parser())

    named = {span.split()[0] for span in spans(paper) if span.startswith("-")}

    assert named <= known


def test_the_table_of_the_readme_has_every_command_ready_to_type():
    rows = [
        line for line in README.read_text().splitlines() if re.match(r"\| ?\w* \| `tune-", line)
    ]
    whole = [shlex.split(re.findall(r"`tune-encoder (.+?)`", row)[0]) for row in rows]
    others = [span.split() for row in rows for span in re.findall(r"`([^`]+)`", row)[1:]]

    for words in whole:
        assert make_parser().parse_args(words).command
    named = [tuple(words) for words in (*whole, *others)]
    missing = [
        name
        for name in leaves(make_parser())
        if not any(each[: len(name)] == name for each in named)
    ]
    assert not missing


def test_the_readme_says_what_a_skill_is_where_it_first_says_skill():
    first, following = README.read_text().split("skill", maxsplit=1)

    assert first.endswith("**")
    assert following.startswith("**:\n`skill = 1 - SSE(prediction) / SSE(training-set mean)`")


def test_the_readme_is_read_in_one_sitting():
    assert len(README.read_text().splitlines()) <= MOST_LINES


# --- links, files, modules -----------------------------------------------------------------------


def anchors(paper):
    """GitHub's names of the headings."""
    headings = re.findall(r"^#+ (.+)$", without_fences(paper), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@each_paper
def test_every_link_leads_somewhere(paper):
    text = without_fences(paper)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (paper.parent / file).resolve() if file else paper
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@each_paper
def test_every_file_of_the_code_that_is_named_is_there(paper):
    named = [span for span in spans(paper) if re.fullmatch(r"\w+/[\w/]+\.py", span)]

    assert all((ROOT / name).is_file() or (PACKAGE / name).is_file() for name in named), named


@each_paper
def test_every_name_of_the_package_that_is_used_exists(paper):
    for name in set(re.findall(r"\btune_encoder\.(\w+)", paper.read_text())):
        assert name in tune_encoder.__all__ or importlib.util.find_spec(f"tune_encoder.{name}")


@each_paper
def test_every_benchmark_that_is_named_exists_and_takes_its_options(paper):
    lines = [*spans(paper), *indented(paper)]
    for line in lines:
        if found := re.search(r"python -m tests\.benchmarks\.([a-z_]+)(.*)", line):
            source = (BENCHMARKS / f"{found[1]}.py").read_text()
            options = re.findall(r"--[a-z-]+", found[2])
            assert not [option for option in options if f'"{option}"' not in source], line


def test_the_table_of_benchmarks_has_every_benchmark():
    rows = re.findall(
        r"^\| `python -m tests\.benchmarks\.(\w+)", (BENCHMARKS / "README.md").read_text(), re.M
    )

    assert sorted(rows) == sorted(path.stem for path in BENCHMARKS.glob("[a-z]*.py"))


def test_the_readme_names_every_package_of_the_program():
    named = re.findall(r"^\| \d+ \| `(\w+)` \|", README.read_text(), re.MULTILINE)

    assert sorted(named) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


# --- what is run ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which a reader tries things out: it has two searches, `mine` and `other`."""
    space = load_space(find_space("quick"))
    for name in ("mine", "other"):
        make_search(tmp_path / "runs", space, list(ended_trials(name)), name=name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ended_trials(name):
    for number in range(12):
        settings = {
            "learning_rate": 2e-3 + number * 3e-4,
            "hidden_dim": (48, 64)[number % 2],
            "num_layers": 3 + number // 2 % 2,
            "dropout": number / 50,
            "augment_prob": number / 120,
        }
        finished = number % 4 == 0
        values = [0.9 - number / 100 - epoch / 50 for epoch in range(18 if finished else 2)]
        yield "COMPLETE" if finished else "PRUNED", settings, values


@pytest.mark.parametrize(
    "paper",
    [pytest.param(path, id=path.stem) for path in PAPERS if runnable(path)],
)
def test_the_commands_of_a_runnable_block_run(paper, folder, capsys):
    for line in (line for block in runnable(paper) for line in block):
        program, *words = shlex.split(line)
        assert program == "tune-encoder", "a block of sh is run: one command in a line"
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0, f"{line}: {capsys.readouterr().err}"
        assert capsys.readouterr().out


@each_paper
def test_every_yaml_block_is_a_search_space(paper):
    for block in fenced(paper, "yaml"):
        content = yaml.safe_load("\n".join(block))  # noqa: TID251  (it is our own text)
        assert parse_space(content, paper.name, Path()).parameters


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_python_of_the_papers_runs(tmp_path):
    # With fewer than 40 voices each trial would train an encoder on each of ten folds.
    make_demo(tmp_path / "voices", voices=36, val_voices=4, test_voices=4, seed=1)
    voice = read_sample(next((tmp_path / "voices" / "test").glob("*.npz")))
    soundfile.write(tmp_path / "voice.wav", voice.audio, voice.sample_rate or 24000)
    code = [line for paper in PAPERS for block in fenced(paper, "python") for line in block]
    shorter = "\n".join(code).replace("trials=4", "trials=2, epochs=4, concurrent=1")
    statements = [ast.unparse(each) for each in ast.parse(shorter).body]

    done = subprocess.run(
        # The search with which each paper begins is run once.
        [sys.executable, "-c", "\n".join(dict.fromkeys(statements))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert shorter != "\n".join(code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "mine" / "best" / "model.safetensors").is_file()
    assert (tmp_path / "cloned.json").is_file()


# --- Python --------------------------------------------------------------------------------------


def python_table():
    """The cells of each row of the guide of Python whose first cell is one or more commands."""
    rows = re.findall(
        r"^\| (`[a-z-]+(?: [a-z]+)?`.*?) \| (.+?) \|$",
        (PACKAGE / "guides/python.md").read_text(),
        re.M,
    )
    cells = [(re.findall(r"`([^`]+)`", first), second) for first, second in rows]
    return {name: second for names, second in cells for name in names}


def test_every_command_is_in_the_table_of_python_or_has_a_reason_not_to_be():
    commands = {" ".join(name) for name in leaves(make_parser())}

    assert set(python_table()) == commands
    assert set(CALLS) == {name for name, cell in python_table().items() if "`" in cell[:1]}


def test_the_functions_of_the_table_of_python_exist_and_take_what_it_says():
    for command, call in CALLS.items():
        cell = python_table()[command]
        found = re.findall(r"`(?:tune_encoder\.)?([\w.]+)(?:\(([^)]*)\))?`", cell)
        assert call.name in [name for name, _ in found]
        for name, arguments in found:
            value: Any = tune_encoder
            for part in name.split("."):
                value = getattr(value, part)
            taken = [] if isinstance(value, property) else inspect.signature(value).parameters
            assert not {*re.findall(r"\w+", arguments)} - {*taken}, command


def test_the_notebook_is_small_and_its_outputs_are_stripped():
    path = PACKAGE / "guides" / "notebook.ipynb"
    cells = json.loads(path.read_text())["cells"]

    assert path.stat().st_size < 20_000
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    assert all(cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


# --- the guides themselves, and the command that shows them ---------------------------------------


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_begins_with_its_title_and_what_it_is_for(path):
    text = path.read_text()

    assert re.match(r"# [A-Z].+\n\n[A-Z][^\n]+(\n[^\n]+)*\.\n\n", text)
    assert text.isascii()  # so that every terminal can show it
    assert len(about(path)) < 160


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code, capsys.readouterr()


def test_without_a_topic_the_guides_are_listed_with_what_they_are_for(capsys):
    code, printed = run(capsys, "guide")

    lines = printed.out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 80
    for name, path in guides().items():
        first = next(line for line in lines if line.startswith(f"{name} "))
        assert about(path).startswith(first.removeprefix(name).strip())


def test_a_guide_is_printed_as_it_is_written_into_a_pipe(capsys):
    for name, path in guides().items():
        assert run(capsys, "guide", name) == (0, (path.read_text(), ""))


def test_a_guide_is_laid_out_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")

    code, printed = run(capsys, "guide", "data")

    plain = re.sub(r"\x1b\[[\d;]*m", "", printed.out)
    assert code == 0
    assert "```" not in plain
    assert max(map(len, plain.splitlines())) <= 80


def test_an_unknown_topic_is_refused_in_one_line_that_names_the_topics(capsys):
    for topic in ("dat", "xyzzy"):
        code, printed = run(capsys, "guide", topic)

        assert code == 2
        assert printed.err.count("\n") == 1
        assert f"unknown topic {topic!r}" in printed.err
        assert printed.err.count(", ".join(guides())) == 1


def test_reading_a_guide_loads_neither_torch_nor_ray():
    code = (
        "import sys\nfrom tune_encoder.cli import main\n"
        "try: main(['guide', 'data'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'ray', 'optuna') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("\n[]\n")
