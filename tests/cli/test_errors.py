import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.builders import new_experiment
from tests.fabricate import make_sample
from tune_encoder.cli import main
from tune_encoder.data.samples import write_sample

USAGE, DATA, STORAGE = 2, 3, 4


@pytest.fixture(scope="module")
def scene(tmp_path_factory, cache):
    """Data sets good and bad, settings, spaces and an experiment, each with its fault."""
    folder = tmp_path_factory.mktemp("scene")
    for name in ("good", "no_val", "cut", "nan"):
        for seed, split in enumerate(("train", "val")):
            (folder / name / split).mkdir(parents=True)
            write_sample(folder / name / split / "a.npz", make_sample(seed, voice=f"v{seed}"))
    write_sample(folder / "good" / "train" / "b.npz", make_sample(2, voice="v2"))
    shutil.rmtree(folder / "no_val" / "val")
    (folder / "no_val" / "val").mkdir()
    path = folder / "cut" / "train" / "a.npz"
    path.write_bytes(path.read_bytes()[:-100])
    audio = np.full(480, np.nan, np.float32)
    write_sample(folder / "nan" / "val" / "a.npz", make_sample(audio=audio))
    (folder / "typo.yaml").write_text("epoch: 3\n")
    (folder / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (folder / "space.yaml").write_text("space: {dropout: {float: [0.5, 0.1]}}\n")
    new_experiment(folder / "runs", "begun")
    (folder / "runs" / "taken").mkdir(parents=True)
    (folder / "runs" / "taken" / "search.yaml").write_text("format: 1\n")
    (folder / "file").write_text("a file\n")
    return folder


SEARCH = "search --root {0}/runs --space quick --data-dir {0}/good"
BAD_COMMANDS = [
    ("", USAGE, "the following arguments are required: COMMAND"),
    ("serch", USAGE, "invalid choice: 'serch' (choose from "),
    ("train --epoch-count 3", USAGE, "unrecognized arguments: --epoch-count 3"),
    ("train --epochs many", USAGE, "argument --epochs: invalid int value: 'many'"),
    ("train --device tpu", USAGE, "argument --device: invalid choice: 'tpu'"),
    ("train --data-dir {0}/good --epochs 0", USAGE, "epochs is 0; it must be a whole number fro"),
    ("train --data-dir {0}/good --set drop=1", USAGE, "'drop'; did you mean 'dropout'?"),
    ("train --data-dir {0}/good --set dropout", USAGE, "--set dropout: write it as key=value, su"),
    ("train --data-dir {0}/good --set dropout=", USAGE, "--set dropout=: has no value; write it"),
    ("train --data-dir {0}/good --set hop_length=4096", USAGE, "it must be at most n_fft (1024)"),
    ("train --config {0}/none.yaml", USAGE, "{0}/none.yaml: no such file; give the path of a YA"),
    ("train --config {0}/typo.yaml", USAGE, "{0}/typo.yaml: unknown setting 'epoch'; did you me"),
    ("train --config {0}/twice.yaml", USAGE, "{0}/twice.yaml, line 2: duplicate key 'seed'"),
    ("train --data-dir {0}/none", DATA, "{0}/none: no such folder; it must hold train/ and val/"),
    ("train --data-dir {0}/no_val", DATA, "{0}/no_val/val: holds no npz file; put samples into"),
    ("train --data-dir {0}/cut", DATA, "{0}/cut/train/a.npz: not a readable npz file (BadZipFil"),
    ("train --data-dir {0}/nan", DATA, "{0}/nan/val/a.npz: audio has 480 NaN or infinite value"),
    (SEARCH + " --name ../x", USAGE, "the experiment name '../x' is not valid; use up to 64"),
    (SEARCH + " --name taken", USAGE, "taken exists; continue it with `tune-encoder resume taken"),
    (
        SEARCH + " --space quik",
        USAGE,
        "quik: neither a file nor a built-in space; built-in are cnn, d",
    ),
    (SEARCH + " --space {0}/space.yaml", USAGE, "{0}/space.yaml, space.dropout: low 0.5 is not "),
    (SEARCH + " --trials 0", USAGE, "command line, budget: trials is 0; it must be a whole numb"),
    (SEARCH + " --epochs 0", USAGE, "command line, budget: epochs is 0; it must be a whole numb"),
    (SEARCH + " --time soon", USAGE, "command line, budget: time is 'soon'; write it as 45s, 90m,"),
    (SEARCH + " --data-dir {0}/none", DATA, "{0}/none: no such folder; it must hold train/ and "),
    (SEARCH + " --data-dir {0}/cut", DATA, "{0}/cut/train/a.npz: not a readable npz file"),
    (SEARCH + " --root {0}/file", STORAGE, "{0}/file/"),
    ("resume none --root {0}/runs", USAGE, "none: no such experiment; there are begun, taken"),
    (
        "fork begun new --root {0}/runs --space quick --trials 0",
        USAGE,
        "command line, budget: trials is 0; it must be a whole number from 1",
    ),
    (
        "fork begun new --root {0}/runs --space quick --epochs 0",
        USAGE,
        "command line, budget: epochs is 0; it must be a whole number from 1",
    ),
    (
        "fork begun new --root {0}/runs --space quick --concurrent -1",
        USAGE,
        "command line, resources: concurrent is -1; it must be a whole number from 0",
    ),
    ("resume ../x --root {0}/runs", USAGE, "the experiment name '../x' is not valid; use up "),
    ("repair none --root {0}/runs", USAGE, "none: no such experiment; there are begun, taken"),
    ("export none --root {0}/runs", USAGE, "none: no such experiment; there are begun, taken"),
    ("export none --root {0}/empty", USAGE, "none: no such experiment; {0}/empty has none"),
    (
        "export taken --root {0}/runs --top-k 0",
        USAGE,
        "command line: top_k is 0; it must be a",
    ),
    (
        "export taken --root {0}/runs --formats x",
        USAGE,
        "line: formats is 'x'; it must be one of",
    ),
    ("add begun {{ --root {0}/runs", USAGE, "add {{: write it as key=value, such as"),
    ("add begun dropout={{ --root {0}/runs", USAGE, "add dropout, line 1: "),
    ("evaluate {0}/none", STORAGE, "{0}/none: no model here; make one with `tune-encoder export`"),
    ("space quick --sample 99999999999999999999", USAGE, "99; it must be from 0 to 100000"),
    ("verify {0}/none", STORAGE, "none/provenance.json: cannot be read (No such file or directory"),
    ("retrain none --root {0}/runs", USAGE, "none: no such experiment; there are begun, taken"),
    ("clone {0}/none {0}/a.wav -o {0}/a.json", STORAGE, "{0}/none: no model here; make one with "),
    ("clone {0}/none {0}/a.wav", USAGE, "the following arguments are required: -o/--out"),
    ("data", USAGE, "the following arguments are required: WHAT"),
    ("data check {0}/none", DATA, "{0}/none: 1 error; fix or remove the files"),
    ("data check {0}/nan", DATA, "{0}/nan: 1 error; fix or remove the files"),
    (
        "data demo {0}/new --voices -1",
        USAGE,
        "argument --voices: -1 is negative; it must be 0 or more",
    ),
    ("data demo {0}/new --voices 0", USAGE, "--voices and --val-voices must be at least 1"),
    (
        "data demo {0}/new --clips-per-voice 0",
        USAGE,
        "argument --clips-per-voice: 0 is too small; it must be 1 or more",
    ),
    (
        "data demo {0}/new --clips-per-voice -2",
        USAGE,
        "argument --clips-per-voice: -2 is negative; it must be 1 or more",
    ),
    (
        "data demo {0}/new --clips-per-voice two",
        USAGE,
        "argument --clips-per-voice: 'two' is no whole number; it must be 1 or more",
    ),
    ("data demo {0}/good", USAGE, "{0}/good: exists and is not empty; remove it or name another"),
    ("data import --audio {0}/none --styles {0} --out {0}/new", DATA, "{0}/none: no such folder;"),
]


@pytest.mark.parametrize(
    ("command", "code", "words"), BAD_COMMANDS, ids=[command for command, *_ in BAD_COMMANDS]
)
def test_a_bad_command_ends_with_its_code_and_one_line_that_says_what_to_do(
    scene, capsys, monkeypatch, command, code, words
):
    monkeypatch.setitem(sys.modules, "ray", None)  # then importing it is an error
    before = sorted(scene.rglob("*"))

    with pytest.raises(SystemExit) as ended:
        main(command.format(scene).split())

    printed = capsys.readouterr().err.strip().splitlines()
    if printed[0].startswith("usage: "):  # argparse shows how the command is written
        printed = printed[-1:]
    assert ended.value.code == code
    assert len(printed) == 1
    assert re.match(r"tune-encoder[a-z ]*: ", printed[0])
    assert words.format(scene) in printed[0]
    assert sorted(scene.rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    ["resume LONG", "train --data-dir x --set LONG=1", "train --epochs LONG"],
)
def test_a_very_long_value_is_shortened_and_what_to_do_still_stands_at_the_end(capsys, command):
    with pytest.raises(SystemExit, match="2"):
        main(command.replace("LONG", "x" * 100_000).split())

    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert len(line) < 1_700
    assert re.search(r"x \[\.\.\. \d+ characters \.\.\.\] ", line)


def test_evaluate_looks_for_its_model_before_it_makes_the_demo_voices(scene, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tune_encoder.data.demo", None)  # importing it is an error

    with pytest.raises(SystemExit, match="4"):
        main(["evaluate", str(scene / "none")])

    assert "no model here" in capsys.readouterr().err


def test_with_debug_the_traceback_of_an_error_is_shown_too(scene, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--debug", "train", "--config", str(scene / "typo.yaml")])

    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.splitlines()[-1].startswith("tune-encoder: ")


# --- what is loaded ------------------------------------------------------------------------------

RUN_AND_TELL = """
import json, sys
from tune_encoder.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    packages = ("torch", "ray", "optuna", "scipy", "rich")
    heavy = [name for name in packages if name in sys.modules]
    print("\\n" + json.dumps([ended.code, heavy]))
"""


def run_and_tell(*arguments):
    """Exit code of a command in a new process, and which heavy packages it has loaded."""
    command = [sys.executable, "-c", RUN_AND_TELL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code, heavy


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["search", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    assert run_and_tell(*arguments) == (0, [])


def test_a_search_that_cannot_begin_does_not_load_ray(scene):
    command = f"{SEARCH} --data-dir {{0}}/nan".format(scene).split()

    code, heavy = run_and_tell(*command)

    assert code == DATA
    assert "ray" not in heavy


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "tune_encoder", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    names = ("search", "resume", "repair", "export", "verify", "retrain", "clone", "train", "data")
    for name in names:
        assert re.search(rf"^    {name} ", done.stdout, re.MULTILINE)
    assert done.stderr == ""
