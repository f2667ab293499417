import os
import re
from pathlib import Path

import pytest

from tune_encoder.config import (
    TrainConfig,
    load_config,
    parse_assignment,
    read_yaml,
    to_mapping,
    write_yaml,
)
from tune_encoder.errors import ConfigError

SHARED = [1, 2]


def read(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2e+3", -2e3),
        ("1.5e3", 1.5e3),
        (".5e3", 500.0),
        ("1.0e-3", 1e-3),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("e3", "e3"),
        ("7", 7),
        ("true", True),
        ("no", False),
        ("[1, 2]", [1, 2]),
    ],
)
def test_a_value_is_read_as_a_person_means_it(tmp_path, text, value):
    assert read(tmp_path, f"a: {text}") == {"a": value}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfseed: 1\nepochs: 2\n",
        b"seed: 1\r\nepochs: 2\r\n",
        b"# note\nseed: 1\nepochs: 2",
    ],
    ids=["byte_order_mark", "windows_lines", "comment"],
)
def test_what_editors_leave_in_a_file_does_not_matter(tmp_path, content):
    assert read(tmp_path, content) == {"seed": 1, "epochs": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 1\nepochs: 2\nseed: 3", r", line 3: duplicate key 'seed'"),
        ("a:\n  b: {c: 1, c: 2}", r", line 2: duplicate key 'c'"),
        ("1: a", r", line 1: the key 1 is not a text"),
        ("[a]: b", r", line 1: the key \['a'\] is not a text"),
        ("a: &x [1]\nb: *x", r", line 2: aliases \(\*name\) are not allowed"),
        ("a: &x {c: 1}\nb:\n  <<: *x", r", line 3: aliases"),
        ("a: !!python/name:os.system ''", r", line 1: tags \(!name\) are not allowed"),
        ("a: !!int ''", r", line 1: tags"),
        ("a: 1\nb: !!bool perhaps", r", line 2: tags"),
        ("a: " + "[" * 40 + "]" * 40, r", line 1: nested deeper than 32 levels"),
        ("a: " + "[" * 100_000, r", line 1: nested deeper than 32 levels"),
        ("a: [1", r", line 1: .*expected ',' or '\]'"),
        ("a: 1\n\tb: 2", r", line 2: found character '\\t'"),
        ("a: 1\n---\nb: 2", r", line 2: but found another document"),
        ("a: 2020-99-99", r": not valid YAML: month must be in 1\.\.12"),
        ("a: \0", r": not valid YAML: unacceptable character"),
        ("a: " + "1" * 5000, r": not valid YAML: "),
        ("", r": empty; write `name: value` lines"),
        ("# only a comment", r": empty; write `name: value` lines"),
        ("- a\n- b", r": contains a list; write `name: value` lines"),
        ("hello", r": contains a str; write `name: value` lines"),
        (b"a: \xff\xfe", r": cannot be read as UTF-8 text"),
        ("#" * 1_000_001, r": larger than 1000000 bytes; give the path of a YAML file"),
    ],
)
def test_a_file_that_is_no_clean_mapping_is_refused_with_its_name_and_line(
    tmp_path, content, message
):
    with pytest.raises(ConfigError, match=r"run\.yaml" + message):
        read(tmp_path, content)


def test_an_absent_file_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file; give the path of a YAML"):
        read_yaml(tmp_path / "absent.yaml")


def test_a_device_without_an_end_is_not_read_into_memory():
    with pytest.raises(ConfigError, match=r"^/dev/zero: larger than 1000000 bytes; give the"):
        read_yaml(Path("/dev/zero"))


def test_a_pipe_is_not_waited_for_unless_it_is_one_of_bash(tmp_path):
    os.mkfifo(tmp_path / "run.yaml")
    out, into = os.pipe()
    os.write(into, b"epochs: 3")
    os.close(into)

    with pytest.raises(ConfigError, match=r"run\.yaml: is a pipe, not a file; copy its content"):
        read_yaml(tmp_path / "run.yaml")
    assert read_yaml(Path(f"/dev/fd/{out}")) == {"epochs": 3}
    os.close(out)


def test_a_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=rf"{tmp_path}: cannot be read as UTF-8 text"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    "mapping",
    [
        to_mapping(TrainConfig()),
        {"data_dir": "1e5", "b": "1.5e3", "c": "007", "d": "no", "e": "null", "f": "1:30", "g": ""},
        {"data_dir": "/Stimmen/Jürgen: 'x' #1\n", "b": 1e-8, "c": 1e22, "d": None, "e": [[], {}]},
        {"a": SHARED, "b": SHARED},
    ],
    ids=["defaults", "texts_like_other_things", "odd", "shared_list"],
)
def test_what_is_written_reads_back_equal(tmp_path, mapping):
    assert read(tmp_path, write_yaml(mapping)) == mapping


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate=1e-3", ("learning_rate", 1e-3)),
        ("use_amp=false", ("use_amp", False)),
        ("head=linear", ("head", "linear")),
        ("data_dir=a=b", ("data_dir", "a=b")),
        (" seed = 3", ("seed", 3)),
    ],
)
def test_an_assignment_is_read_as_yaml_reads_it(text, expected):
    assert parse_assignment(text, "--set") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", r"--set seed: write it as key=value, such as learning_rate=1e-3"),
        ("=3", r"--set =3: write it as key=value"),
        ("seed=", r"--set seed=: has no value; write it as key=value"),
        ("seed=null", r"--set seed=null: has no value; write it as key=value"),
        ("seed=[1", r"--set seed, line 1: .*expected ',' or '\]'"),
    ],
)
def test_a_bad_assignment_is_refused_with_how_to_write_it(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_assignment(text, "--set")


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    (tmp_path / "run.yaml").write_text("seed: 1\nepochs: 2\n")

    config = load_config(tmp_path / "run.yaml", {"epochs": 3, "seed": None})

    assert config == TrainConfig(seed=1, epochs=3)


def test_without_a_file_there_are_defaults_and_the_command_line():
    assert load_config(None, {"epochs": 3}) == TrainConfig(epochs=3)


def test_a_data_folder_in_a_file_is_relative_to_the_file(tmp_path):
    (tmp_path / "configs").mkdir()
    path = tmp_path / "configs" / "run.yaml"
    path.write_text("data_dir: ../voices\n")

    assert load_config(path, {}).data_dir == str(tmp_path / "voices")
    assert load_config(path, {"data_dir": "/other"}).data_dir == "/other"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({}, r"run\.yaml: seed is -1"), ({"dropout": 2}, r"run\.yaml: seed is -1")],
)
def test_an_error_names_the_file_it_is_in(tmp_path, overrides, message):
    (tmp_path / "run.yaml").write_text("seed: -1\n")

    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "run.yaml", overrides)


@pytest.mark.parametrize(
    ("written", "read"),
    [("010", 8), ("-017", -15), ("1:30", 90), ("12:30:00", 45000), ("1:30.5", 90.5), ("0_7", 7)],
)
def test_a_number_that_yaml_reads_as_another_is_refused_with_both(tmp_path, written, read):
    (tmp_path / "run.yaml").write_text(f"epochs: 3\nseed: {written}\n")

    message = rf"run\.yaml, line 2: {re.escape(written)} would be read as {read}; write {read} if"
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "run.yaml", {})


def test_zero_and_numbers_that_only_contain_one_are_read(tmp_path):
    (tmp_path / "run.yaml").write_text("seed: 0\ndropout: 0.10\nlearning_rate: 0.5e-03\n")

    config = load_config(tmp_path / "run.yaml", {})

    assert (config.seed, config.dropout, config.learning_rate) == (0, 0.1, 0.0005)


def test_an_error_on_the_command_line_says_so(tmp_path):
    (tmp_path / "run.yaml").write_text("seed: 1\n")

    with pytest.raises(ConfigError, match=r"command line: dropout is 2; .* from 0 to 0\.9"):
        load_config(tmp_path / "run.yaml", {"dropout": 2})
