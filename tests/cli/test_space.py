"""`tune-encoder space` and `tune-encoder plan`."""

import json
import re
import sys
from pathlib import Path

import pytest

from tune_encoder.cli import main
from tune_encoder.config import TrainConfig, read_yaml
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.space import builtin_spaces, load_space, sample_configs
from tune_encoder.training.probe import RANDOM_CONFIGS

SHIPPED = list(builtin_spaces())
ALL = """\
metric: {name: val_skill}
budget: {trials: 8, epochs: 9, time: 2h, target: 0.5, seeds: 3}
scheduler: {name: hyperband, brackets: 2, reduction_factor: 3}
searcher: {name: random, seed: 4}
resources: {cpus: 2, gpus: 0.5, concurrent: 3}
base: {warmup_epochs: 1, encoder_type: convnext}
space:
  pca_components: {int: [4, 128], log: true, when: {head: pca, pooling: [mean, statistics]}}
  head: {choice: [pca, linear]}
  pooling: {choice: [mean, statistics]}
  dropout: {float: [0.0, 0.3], step: 0.1}
  use_amp: {choice: [true, false]}
  learning_rate: {float: [1e-5, 1e-2], log: true}
"""
SMALL = """\
budget: {trials: 6, epochs: 4}
scheduler: {name: SCHEDULER}
resources: {concurrent: 1}
validation: {voices: 1}
base: {hidden_dim: 8, num_layers: 1, crop_seconds: 0.5, device: cpu, use_tensorboard: false}
space: {dropout: {float: [0.0, 0.2]}}
"""


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command; returns its exit code, output and error lines. Ray cannot be imported."""
    monkeypatch.setitem(sys.modules, "ray", None)

    def run_command(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run_command


@pytest.fixture
def all_kinds(tmp_path):
    (tmp_path / "all.yaml").write_text(ALL)
    return tmp_path / "all.yaml"


TWO = """\
metric: {second: parameters}
scheduler: {name: none}
searcher: {name: nsga2}
constraints: {parameters: {max: 1.0e6}, val_retrieval: {min: 0.5}}
space: {dropout: {float: [0.0, 0.2]}}
"""


def test_a_space_says_both_metrics_and_its_constraints(run, tmp_path):
    (tmp_path / "two.yaml").write_text(TWO)

    code, out, _ = run("space", tmp_path / "two.yaml")

    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert "budget 16 trials of up to 27 epochs, by val_loss and parameters" in lines
    assert "searcher nsga2, 8 start-up trials, seed 0" in lines
    limits = "parameters at most 1,000,000, val_retrieval at least 0.5"
    assert f"constraints {limits}" in lines


def test_two_metrics_with_a_scheduler_of_one_are_refused_before_ray_starts(run, tmp_path):
    (tmp_path / "two.yaml").write_text(TWO.replace("name: none", "name: asha"))

    code, _, error = run("search", "--space", tmp_path / "two.yaml", "--root", tmp_path / "runs")

    assert code == 2
    assert error == (
        f"tune-encoder: {tmp_path}/two.yaml: scheduler.name is asha, which compares trials by one "
        "metric, but metric.second is parameters; write `scheduler: {name: none}`\n"
    )


def small(folder, scheduler="asha"):
    (folder / "small.yaml").write_text(SMALL.replace("SCHEDULER", scheduler))
    return folder / "small.yaml"


# --- space ---------------------------------------------------------------------------------------


def test_a_space_is_shown_with_all_that_it_says(run, all_kinds):
    code, out, _ = run("space", all_kinds)

    assert code == 0
    assert (
        out
        == """\
budget     8 trials of up to 9 epochs, by val_skill, at most 2h, until 0.5, the
           best confirmed with 3 seeds
scheduler  hyperband, grace period 1, factor 3, 2 brackets
searcher   random, seed 4
resources  cpus 2, gpus 0.5 a trial, 3 at once
base       warmup_epochs: 1, encoder_type: convnext

6 settings are searched:
setting         kind    values              only when
head            choice  pca, linear
pooling         choice  mean, statistics
dropout         float   0 to 0.3, step 0.1
use_amp         choice  true, false
learning_rate   float   1e-05 to 0.01, log
pca_components  int     4 to 128, log       head: pca, pooling: mean or
                                            statistics
"""
    )


@pytest.mark.parametrize(
    ("every", "words"), [(4, "every 4 epochs"), (1, "every epoch"), (0, "at rungs")]
)
def test_how_a_search_listens_is_shown(run, tmp_path, every, words):
    limit = "constraints: {val_similarity: {min: 0.7}}\n"
    how = f"similarity: {{every: {every}, voices: 5, sentences: 1}}\n"
    (tmp_path / "ear.yaml").write_text(f"{SMALL.replace('SCHEDULER', 'asha')}{limit}{how}")

    _, out, _ = run("space", tmp_path / "ear.yaml")
    _, silent, _ = run("space", small(tmp_path))

    assert f"similarity   {words}, 5 voices, 1 sentence, supertonic-3" in out
    assert "constraints  val_similarity at least 0.7" in out
    assert "similarity" not in silent


@pytest.mark.parametrize(
    ("scheduler", "shown"),
    [
        ("none", "none"),
        ("median", "median, grace period 1"),
        ("promote", "promote, grace period 1, factor 3"),
    ],
)
def test_of_a_scheduler_only_what_it_heeds_is_shown(run, tmp_path, scheduler, shown):
    _, out, _ = run("space", small(tmp_path, scheduler))

    assert f"\nscheduler  {shown}\n" in out


@pytest.mark.parametrize("name", SHIPPED)
def test_whatever_is_shown_fits_into_80_columns(run, name):
    _, out, _ = run("space", name, "--sample", 5)

    assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shown_sample_can_be_copied_into_a_space(run, tmp_path, name):
    _, out, _ = run("space", name, "--sample", 20)
    copied = tmp_path / "copied.yaml"
    space = builtin_spaces()[name].read_text().partition("\nstart:")[0]
    copied.write_text(space + "\n" + out[out.index("start:") :])

    assert len(load_space(copied).start) == 20


def test_a_sample_has_only_what_its_trial_searches(run, all_kinds):
    _, out, _ = run("space", all_kinds, "--sample", 30, "--json")

    for settings in json.loads(out)["samples"]:
        assert settings.keys() - {"pca_components"} == {
            "head",
            "pooling",
            "dropout",
            "use_amp",
            "learning_rate",
        }
        assert ("pca_components" in settings) == (settings["head"] == "pca")


def test_the_seed_decides_what_is_sampled(run, all_kinds):
    samples = [run("space", all_kinds, "--sample", 3, "--seed", seed)[1] for seed in (1, 1, 2)]

    assert samples[0] == samples[1] != samples[2]


def test_json_holds_the_space_as_a_file_would_and_exact_samples(run, all_kinds):
    _, out, _ = run("space", all_kinds, "--sample", 2, "--json")
    space = load_space(all_kinds)

    content = json.loads(out)
    samples = content.pop("samples")
    assert samples == [space.searched_settings(settings) for settings in sample_configs(space, 2)]
    all_kinds.write_text(json.dumps(content))  # JSON is YAML
    assert load_space(all_kinds) == space
    assert read_yaml(all_kinds) == content


def test_the_shipped_spaces_are_listed_with_what_they_are_for(run):
    _, out, _ = run("space", "--list")
    _, as_json, _ = run("space", "--list", "--json")

    lines = json.loads(as_json)
    assert list(lines) == SHIPPED
    assert " ".join(out.split()) == " ".join(f"{name} {line}" for name, line in lines.items())
    assert max(len(line) for line in out.splitlines()) <= 80
    assert lines["quick"].startswith("to try the program on the demo voices.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "space: no FILE given; name a YAML file or a built-in space, or use --list"),
        (("quick", "--sample", "-1"), "--sample is -1; it must be from 0 to 100000"),
        (("quik",), "quik: neither a file nor a built-in space; built-in are cnn, default, quick,"),
    ],
)
def test_a_bad_space_command_ends_with_one_line_that_says_what_to_do(run, words, message):
    code, out, err = run("space", *words)

    assert (code, out) == (2, "")
    assert err.startswith(f"tune-encoder: {message}")


# --- plan ----------------------------------------------------------------------------------------


def test_a_plan_without_a_probe_shows_rungs_and_epochs(run, tmp_path):
    code, out, err = run("plan", small(tmp_path), "--no-probe")

    assert (code, err) == (0, "")
    assert (
        out
        == """\
6 trials of up to 4 epochs, asha

trials  to epoch  epochs spent
     6         1             6
     2         3             4
     1         4             1
 total                      11  46% of 24 without early stopping

asha decides before a rung is full: it may use up to twice the epochs
"""
    )


def test_a_plan_shows_brackets_confirmations_and_the_time_limit(run, all_kinds):
    _, out, _ = run("plan", all_kinds, "--no-probe")

    assert (
        out
        == """\
8 trials of up to 9 epochs, hyperband

   trials  to epoch  epochs spent
bracket 1
        4         1             4
        1         3             2
        1         9             6
bracket 2
        4         3            12
        1         9             6
        6         9            54  with further seeds
    total                      84  67% of 126 without early stopping

hyperband decides before a rung is full: it may use up to twice the epochs
budget.time ends the search after 2h, even if trials are left
"""
    )


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        ("none", ""),
        ("promote", "promote decides before a rung is full: it may use up to twice the epochs\n"),
        ("median", "median stops some trials earlier; how many is only known in the search\n"),
    ],
)
def test_a_plan_says_what_it_cannot_know(run, tmp_path, scheduler, said):
    _, out, _ = run("plan", small(tmp_path, scheduler), "--no-probe")

    assert out.partition("early stopping\n\n")[2] == said


LISTENING = """\
metric: {second: val_similarity}
budget: {trials: 6, epochs: 9}
scheduler: {name: none}
similarity: {every: 4, voices: 5, sentences: 1}
space: {dropout: {float: [0.0, 0.2]}}
"""


def test_a_plan_tells_how_much_is_spoken_if_the_search_listens(run, tmp_path):
    (tmp_path / "ear.yaml").write_text(LISTENING)

    _, out, _ = run("plan", tmp_path / "ear.yaml", "--no-probe")
    _, as_json, _ = run("plan", tmp_path / "ear.yaml", "--no-probe", "--json")
    _, silent, _ = run("plan", small(tmp_path), "--no-probe", "--json")

    said = " ".join(out.split())
    assert "val_similarity is measured 24 times: about 7 min of speech to synthesise" in said
    published = "0.02 (a laptop's CPU) and 0.3 (four cores of a server) were published"
    assert said.endswith(f"on one core with 8 steps. With 5 steps {published}")
    assert max(len(line) for line in out.splitlines()) <= 80
    plan = json.loads(as_json)
    assert (plan["similarity_measurements"], plan["speech_seconds"]) == (24, 24 * 5 * 3.5)
    assert "speech_seconds" not in json.loads(silent)


def test_a_plan_with_a_probe_tells_time_and_disk(run, tmp_path, data_dir):
    code, out, err = run("plan", small(tmp_path), "--data-dir", data_dir)

    assert code == 0
    assert [line[:12].strip() for line in out.splitlines()[-6:]] == [
        "steps",
        "an epoch",
        "search",
        "checkpoint",
        "disk",
        "pack",
    ]
    assert re.fullmatch(r"pack        \d+ MB|pack        \d+ kB", out.splitlines()[-1])
    assert out.splitlines()[-2].endswith(": 6 runs, 2 checkpoints each")
    assert out.splitlines()[-6] == "steps       16 an epoch"
    assert max(len(line) for line in out.splitlines()) <= 80
    progress = err.splitlines()
    assert progress[0] == "timing a few configs on 24 clips ..."
    assert len(progress) == 1 + 1 + RANDOM_CONFIGS


def test_a_plan_in_json_adds_up(run, tmp_path, data_dir):
    _, out, _ = run("plan", small(tmp_path), "--data-dir", data_dir, "--json")

    plan = json.loads(out)
    assert (plan["trials"], plan["total_epochs"], plan["full_epochs"]) == (6, 11, 24)
    assert plan["brackets"][0][0] == {"trials": 6, "epochs": 1, "spent": 6}
    assert plan["workers"] == 1
    assert plan["seconds"] == pytest.approx(11 * plan["seconds_per_epoch"])
    assert plan["disk_bytes"] == 6 * 2 * plan["checkpoint_bytes"]
    sizes = [timing["checkpoint_bytes"] for timing in plan["timings"]]
    assert min(sizes) <= plan["checkpoint_bytes"] <= max(sizes)


def test_a_plan_counts_the_copies_in_the_pack(run, tmp_path, data_dir):
    file = small(tmp_path)
    _, out, _ = run("plan", file, "--data-dir", data_dir, "--json")
    file.write_text(file.read_text().replace("base: {", "base: {augment_copies: 2, "))

    _, copied, _ = run("plan", file, "--data-dir", data_dir, "--json")
    _, shown, _ = run("plan", file, "--data-dir", data_dir)

    plain, more = json.loads(out), json.loads(copied)
    features = open_pack(pack_data(data_dir, TrainConfig())).info["sizes"]["train.f16"]
    assert more["pack_bytes"] - plain["pack_bytes"] == 2 * features
    assert (plain["copies"], more["copies"]) == (0, 2)
    assert shown.splitlines()[-1].endswith(" MB, with 2 copies of each training clip")


def test_a_plan_takes_the_data_of_its_space(run, tmp_path, data_dir):
    file = small(tmp_path)
    file.write_text(file.read_text().replace("base: {", f"base: {{data_dir: {data_dir}, "))

    _, _, err = run("plan", file)

    assert err.startswith("timing a few configs on 24 clips")


def test_a_plan_for_a_machine_too_small_says_so(run, tmp_path, data_dir):
    file = small(tmp_path)
    file.write_text(file.read_text().replace("concurrent: 1", "gpus: 64"))

    _, out, _ = run("plan", file, "--data-dir", data_dir)

    assert (
        "\nsearch      this machine is too small for a trial; lower resources in the space\n" in out
    )


def test_a_plan_leaves_no_files(run, tmp_path, data_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = small(tmp_path)

    run("plan", file, "--data-dir", data_dir)

    assert list(Path().iterdir()) == [Path(file.name)]


def test_bad_data_end_a_plan_with_their_own_code(run, tmp_path):
    code, _, err = run("plan", small(tmp_path), "--data-dir", tmp_path / "none")

    assert code == 3
    assert f"{tmp_path / 'none'}: no such folder; it must hold train/ and val/" in err


def test_a_check_of_the_data_tells_what_an_epoch_is(run, data_dir):
    code, out, _ = run("data", "check", data_dir)

    assert code == 0
    assert out.endswith("an epoch: 16 steps, 512 crops of 2 s, with the default settings\nok\n")
