"""`tune-encoder listen`, as a person runs it."""

import re
import sys

import numpy as np
import pytest

from tests.fabricate import write_wav
from tune_encoder.cli import main

pytestmark = pytest.mark.weights


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["listen", *(str(argument) for argument in arguments)])
    return ended.value.code


def error_of(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("tune-encoder: ")


def test_each_recording_is_told_in_three_lines_and_the_page_written(
    stand_in_model, stand_in, spoken, tmp_path, capsys
):
    page = tmp_path / "new" / "page.html"
    recordings = [spoken / "F2.wav", spoken / "M4.wav"]

    assert run(stand_in_model, *recordings, "--model-dir", stand_in, "-o", page) == 0

    told = capsys.readouterr().out.splitlines()
    assert told.pop() == f"page: {page}"
    told = [line for line in told if not line.startswith("warning: ")]
    assert re.fullmatch(r"F2\.wav: clone and original 0\.\d\d alike", told[0])
    assert re.fullmatch(r"  the presets 0\.\d\d to 0\.9\d, most F2 \(0\.9\d\)", told[1])
    assert re.fullmatch(r"  two presets 0\.\d\d, a preset and itself 0\.9\d", told[2])
    assert told[3].startswith("M4.wav: ")
    assert len(told) == 6
    assert all(len(line) <= 80 for line in told)
    assert page.read_text().endswith("</html>")


def test_a_recording_that_fails_among_others_is_said_and_the_page_has_the_rest(
    stand_in_model, stand_in, spoken, tmp_path, capsys
):
    short = write_wav(tmp_path / "short.wav", np.sin(np.arange(4800) / 9))
    page = tmp_path / "page.html"

    code = run(
        stand_in_model, short, spoken / "F2.wav", "--model-dir", stand_in, "-o", page,
        "--text", "My brother repairs old clocks in a shed behind the house.",
    )  # fmt: skip

    assert code == 3
    said = capsys.readouterr().err.splitlines()
    assert re.search(r"short\.wav: 0\.\d\d s of sound; at least 1 s is needed", said[0])
    assert said[1] == (
        "tune-encoder: 1 of 2 recordings could not be cloned; the page has the others"
    )
    assert "F2.wav" in page.read_text()
    assert run(stand_in_model, short, "--model-dir", stand_in, "-o", tmp_path / "none.html") == 3
    assert not (tmp_path / "none.html").exists()


def test_models_that_are_missing_are_said_with_how_to_get_them(
    stand_in_model, spoken, tmp_path, capsys
):
    assert run(stand_in_model, spoken / "F2.wav", "--model-dir", tmp_path) == 4
    assert error_of(capsys) == (
        f"{tmp_path}: has no onnx/tts.json, so it is no Supertonic model; leave --model-dir out to "
        "download it, or clone https://huggingface.co/Supertone/supertonic-3"
    )


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("supertonic", "install it with `pip install 'tune-encoder[supertonic]'`"),
        ("resemblyzer", "or with the extra `tune-encoder[listen]`"),
    ],
)
def test_a_package_that_is_missing_is_said_with_its_extra(
    stand_in_model, stand_in, spoken, capsys, monkeypatch, package, message
):
    monkeypatch.setitem(sys.modules, package, None)
    assert run(stand_in_model, spoken / "F2.wav", "--model-dir", stand_in) == 2
    assert error_of(capsys).endswith(message)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--steps", "0"), r"^command line: steps is 0; it must be a whole number from 1 to 100$"),
        (("--speed", "3"), r"^command line: speed is 3\.0; it must be a number from 0\.7 to 2$"),
        (("--lang", "xx"), r"^--lang is 'xx'; supertonic-3 speaks en, "),
        (("--text", ""), r"^--text is '', which has no letter; give a sentence$"),
    ],
)
def test_a_bad_option_is_refused(stand_in_model, stand_in, spoken, capsys, option, message):
    assert run(stand_in_model, spoken / "F2.wav", "--model-dir", stand_in, *option) == 2
    assert re.search(message, error_of(capsys))


@pytest.mark.parametrize(
    ("option", "message"),
    [(("--lang", "xx"), r"^--lang is 'xx'; "), (("--text", "..."), r"^--text is '\.\.\.', which")],
)
def test_a_bad_option_is_refused_before_a_model_is_downloaded(
    stand_in_model, spoken, tmp_path, capsys, option, message
):
    assert run(stand_in_model, spoken / "F2.wav", "--model-dir", tmp_path, *option) == 2
    assert re.search(message, error_of(capsys))


def test_a_speaker_encoder_that_is_missing_is_said_before_a_model_is_downloaded(
    stand_in_model, spoken, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    assert run(stand_in_model, spoken / "F2.wav", "--model-dir", tmp_path) == 2
    assert error_of(capsys).startswith("the speaker encoder is missing, by which voices are")


def test_a_folder_is_no_place_for_a_page(stand_in_model, stand_in, spoken, tmp_path, capsys):
    code = run(stand_in_model, spoken / "F2.wav", "--model-dir", stand_in, "-o", tmp_path)
    assert code == 4
    assert error_of(capsys) == (
        f"{tmp_path}: is a folder; name a file, such as {tmp_path / 'listen.html'}"
    )


def test_a_folder_without_a_model_is_refused(stand_in, spoken, tmp_path, capsys):
    assert run(tmp_path, spoken / "F2.wav", "--model-dir", stand_in) == 4
    assert str(tmp_path) in error_of(capsys)
