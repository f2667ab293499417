"""`tune-encoder data generate`, as a person runs it."""

import re
import sys

import pytest

from tests.speech.stand_in import write_stand_in
from tune_encoder.cli import main
from tune_encoder.data.samples import read_sample

WRONG, DATA, STORAGE = 2, 3, 4


@pytest.fixture
def run(capsys, stand_in, tmp_path):
    """Generates a small set with further options; returns the exit code, and all lines."""

    def run(*options, model_dir=stand_in):
        sizes = ["--voices", "12", "--clips-per-voice", "1", "--steps", "5", "--workers", "1"]
        words = ["data", "generate", tmp_path / "set", "--model-dir", model_dir, *sizes, *options]
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        told = capsys.readouterr()
        return ended.value.code, told.out.splitlines(), told.err.splitlines()

    return run


def test_it_says_what_it_made_and_the_same_again_the_second_time(run, tmp_path):
    code, out, _ = run()

    assert code == 0
    assert len(out) == 1
    assert out[0].startswith("10 train, 1 val, 1 test clips of 12 voices, 1:")
    assert out[0].endswith(f" of speech, in {tmp_path / 'set'}")
    assert run() == (0, out, [])


def test_it_says_what_it_drew_again_and_what_it_left_out(run, tmp_path):
    loud = write_stand_in(tmp_path / "loud", level=0.48)

    code, out, _ = run("--draws", "2", model_dir=loud)

    assert code == 0
    assert out[0].startswith("refused draws: ")
    assert out[0].endswith(" clipped")
    assert out[1].startswith("left out ")
    assert max(map(len, out[:-1])) <= 80


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        (("--langs", "xx"), WRONG, r"--langs xx: the model speaks no such language"),
        (("--texts", "none.txt"), DATA, r"none\.txt: "),
        (("--styles", "none"), DATA, r"none: "),
        (("--presets", "none"), DATA, r"none: "),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_downloaded(run, tmp_path, option, code, message):
    found, _, (line,) = run(*option, model_dir=tmp_path / "no model")

    assert found == code
    assert re.search(message, line)


def test_it_says_which_sentences_the_model_cannot_spell(run, tmp_path):
    no_q = write_stand_in(tmp_path / "no_q", unsupported="Qq")

    code, out, _ = run("--langs", "en,de", model_dir=no_q)

    assert code == 0
    assert re.fullmatch(r"left out \d+ sentences with characters that the model .*", out[0])
    samples = [read_sample(path) for path in (tmp_path / "set").glob("*/*.npz")]
    assert not any("q" in each.text.lower() for each in samples)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--workers", "0"], WRONG, "--workers is 0; it must be at least 1"),
        (["--steps", "2"], WRONG, "command line: steps is '2'; each must be from 5"),
        (["--langs", "en,tlh"], WRONG, "--langs tlh: the model speaks no such language"),
        (["--langs", "ja", "--model", "supertonic-2"], WRONG, "it speaks en, ko, es, pt, fr"),
        (["--hold-out", "M1,F9"], WRONG, "--hold-out F9: no style has this name"),
        (["--voices", "4"], WRONG, "voices is 4, but there are 10 styles"),
        (["--texts", "none.txt"], DATA, "none.txt: no such file; give the path of a file of texts"),
        (["--styles", "none"], DATA, "none: has no style JSON"),
        (["--model-dir", "none"], STORAGE, "none: has no onnx/tts.json, so it is no Supertonic"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(options, code, words, run, tmp_path):
    ended, out, err = run(*options)

    assert (ended, out) == (code, [])
    assert len(err) == 1
    assert words in err[0]
    assert not [*tmp_path.glob("set*")]


def test_without_the_package_its_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "supertonic", None)

    code, _, err = run()

    assert code == WRONG
    assert len(err) == 1
    assert "install it with `pip install 'tune-encoder[supertonic]'`" in err[0]


def test_another_command_on_the_folder_is_refused(run):
    run()

    code, _, err = run("--seed", "3")

    assert code == WRONG
    assert "set: begun by another command (seed is 0 there and 3 here); repeat that" in err[0]
