import dataclasses
import re

import pytest

from tune_encoder.config import (
    BudgetSettings,
    ResourceSettings,
    SchedulerSettings,
    SearcherSettings,
    TrainConfig,
    from_mapping,
    load_config,
    parse_assignment,
    read_yaml,
    to_mapping,
    write_yaml,
)
from tune_encoder.errors import ConfigError
from tune_encoder.system.files import cache_dir

# The settings that the training guide names, with other values than the defaults.
GUIDE_SETTINGS = {
    "lambda_ttl": 2.0,
    "lambda_dp": 0.5,
    "lambda_cosine": 0.2,
    "use_amp": False,
    "learning_rate": 1e-4,
    "warmup_epochs": 2.0,
    "early_stopping_patience": 20,
    "gradient_clip": 0.5,
    "save_interval": 10,
    "batch_size": 16,
    "epochs": 200,
    "use_tensorboard": False,
    "augment_prob": 0.3,
    "augment_noise_snr_min": 10.0,
    "augment_noise_snr_max": 30.0,
    "spec_augment_time_mask": 30,
    "spec_augment_freq_mask": 15,
    "encoder_type": "transformer",
    "hidden_dim": 128,
    "num_layers": 6,
    "num_heads": 8,
    "dropout": 0.2,
    "weight_decay": 1e-3,
}


SHARED = [1, 2]


def read(tmp_path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path)


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [TrainConfig, BudgetSettings, SchedulerSettings, SearcherSettings, ResourceSettings]
)
def test_every_default_lies_within_its_own_limits(kind):
    assert from_mapping(kind, to_mapping(kind()), "defaults") == kind()


def test_every_setting_has_a_help_text():
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainConfig))


@pytest.mark.parametrize(("name", "value"), GUIDE_SETTINGS.items())
def test_every_setting_of_the_guide_is_accepted_under_its_name(name, value):
    config = from_mapping(TrainConfig, {name: value}, "run.yaml")

    assert getattr(config, name) == value != getattr(TrainConfig(), name)


@pytest.mark.parametrize("value", [1e-8, 10.0])
def test_both_ends_of_a_range_belong_to_it(value):
    assert from_mapping(TrainConfig, {"learning_rate": value}, "run.yaml").learning_rate == value


def test_a_whole_number_serves_as_a_number():
    rate = from_mapping(TrainConfig, {"learning_rate": 1}, "run.yaml").learning_rate

    assert isinstance(rate, float)
    assert rate == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_epoch": 1}, "unknown setting 'warmup_epoch'; did you mean 'warmup_epochs'?"),
        ({"zzz": 1}, "unknown setting 'zzz'; known: amp_dtype, augment_bandlimit_hz, "),
        ({"learning_rate": "1e-3"}, "learning_rate is '1e-3'; it must be a number from 1e-08 to"),
        ({"learning_rate": None}, "learning_rate is None; it must be a number from 1e-08 to 10"),
        ({"learning_rate": [1]}, "learning_rate is [1]; it must be a number from 1e-08 to 10"),
        ({"learning_rate": True}, "learning_rate is True; it must be a number from 1e-08 to 10"),
        ({"learning_rate": 10**400}, "000; it must be a number from 1e-08 to 10"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a number from 1e-08"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; it must be a number from 1e-08"),
        ({"learning_rate": 9e-9}, "learning_rate is 9e-09; it must be a number from 1e-08 to 10"),
        ({"learning_rate": 10.1}, "learning_rate is 10.1; it must be a number from 1e-08 to 10"),
        ({"epochs": "9"}, "epochs is '9'; it must be a whole number from 1 to 100000"),
        ({"epochs": True}, "epochs is True; it must be a whole number from 1 to 100000"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be a whole number from 1 to 100000"),
        ({"epochs": 0}, "epochs is 0; it must be a whole number from 1 to 100000"),
        ({"epochs": 100_001}, "epochs is 100001; it must be a whole number from 1 to 100000"),
        ({"use_amp": 1}, "use_amp is 1; it must be true or false"),
        ({"use_amp": "yes"}, "use_amp is 'yes'; it must be true or false"),
        ({"data_dir": 2024}, "data_dir is 2024; it must be a text"),
        ({"encoder_type": "rnn"}, "encoder_type is 'rnn'; it must be one of convnext, cnn, tra"),
        ({"loss_scale": False}, "loss_scale is False; it must be one of variance, none"),
        ({"hop_length": 2048}, "hop_length is 2048; it must be at most n_fft (1024)"),
        ({"kernel_size": 4}, "kernel_size is 4; it must be odd"),
        (
            {"encoder_type": "transformer", "hidden_dim": 100, "num_heads": 8},
            "hidden_dim is 100; it must be a multiple of num_heads (8)",
        ),
        (
            {"head": "query", "hidden_dim": 100, "num_heads": 8},
            "hidden_dim is 100; it must be a multiple of num_heads (8)",
        ),
        (
            {"augment_noise_snr_min": 41},
            "augment_noise_snr_min is 41; it must be at most augment_noise_snr_max (40)",
        ),
    ],
)
def test_a_bad_setting_is_refused_with_its_file_its_value_and_what_is_allowed(settings, message):
    with pytest.raises(ConfigError, match=rf"^run\.yaml: .*{re.escape(message)}"):
        from_mapping(TrainConfig, settings, "run.yaml")


def test_heads_need_not_divide_the_channels_of_an_encoder_without_attention():
    assert TrainConfig(hidden_dim=100, num_heads=8).num_heads == 8


def test_the_cache_lies_where_the_environment_says_and_else_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path

    monkeypatch.setenv("TUNE_ENCODER_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "tune_encoder"


# --- YAML ----------------------------------------------------------------------------------------


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
        ("- a\n- b", r": holds a list; write `name: value` lines"),
        ("hello", r": holds a str; write `name: value` lines"),
        (b"a: \xff\xfe", r": cannot be read as UTF-8 text"),
        ("#" * 1_000_001, r": larger than 1000000 bytes; is it a config\?"),
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


# --- command line --------------------------------------------------------------------------------


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
    assert parse_assignment(text) == expected


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
        parse_assignment(text)


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


def test_an_error_on_the_command_line_says_so(tmp_path):
    (tmp_path / "run.yaml").write_text("seed: 1\n")

    with pytest.raises(ConfigError, match=r"command line: dropout is 2; .* from 0 to 0\.9"):
        load_config(tmp_path / "run.yaml", {"dropout": 2})
