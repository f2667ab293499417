import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.builders import make_search
from tune_encoder.cli import main
from tune_encoder.cli.confirm import importance_lines
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.importance import Importance, Importances, importances
from tune_encoder.space import RandomSuggester, parse_space

CONTENT = {
    "space": {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "dropout": {"float": [0.0, 0.4]},
        "num_layers": {"int": [2, 8]},
        "head": {"choice": ["pca", "lowrank"]},
        "pca_components": {"int": [4, 384], "log": True, "when": {"head": "pca"}},
    },
}
SPACE = parse_space(CONTENT, "test", Path())


def random_trials(n, loss_of, space=SPACE, state="COMPLETE"):
    """Random configs with two epochs each, of which the first is the better."""
    suggest, names = RandomSuggester(0), [parameter.name for parameter in space.parameters]
    for _ in range(n):
        settings = space.sample(suggest)
        searched = {p.name: settings[p.name] for p in space.parameters if p.applies(settings)}
        assert set(searched) <= set(names)
        loss = loss_of(searched)
        yield state, searched, [loss, loss + 0.5]


def by_rate(searched):
    """A loss that only the learning rate decides, with some noise."""
    return abs(searched["learning_rate"] - 3e-3) + random.Random(str(searched)).gauss(0, 1e-4)


@pytest.mark.parametrize("metric", ["val_loss", "val_skill"])
def test_the_setting_that_decides_comes_first_and_all_shares_are_one(tmp_path, metric):
    space = parse_space({**CONTENT, "metric": {"name": metric}}, "test", Path())
    sign = space.metric.sign
    trials = [(s, p, [sign * v for v in vs]) for s, p, vs in random_trials(48, by_rate, space)]

    rated = importances(make_search(tmp_path, space, trials))

    assert rated.settings[0].name == "learning_rate"
    assert rated.settings[0].share > 0.5
    assert sum(each.share for each in rated.settings) == pytest.approx(1)
    assert (rated.n_trials, rated.rough) == (48, False)


def test_a_setting_with_a_condition_is_rated_over_the_trials_that_have_it(tmp_path):
    def by_components(searched):
        return searched.get("pca_components", 100) / 384

    trials = list(random_trials(32, by_components))

    rated = importances(make_search(tmp_path, SPACE, trials))

    counts = {each.name: each.n_trials for each in rated.settings}
    assert rated.settings[0].name == "pca_components"
    assert counts["pca_components"] == sum("pca_components" in p for _, p, _ in trials) < 32
    assert counts["dropout"] == 32


def test_stopped_trials_count_by_their_best_epoch_and_failed_or_running_ones_do_not(tmp_path):
    stopped = list(random_trials(24, by_rate, state="PRUNED"))
    # Were these to count, a high dropout would be what makes a trial good.
    misleading = [("FAIL", {"dropout": 0.4}, [-1.0]), ("RUNNING", {"dropout": 0.39}, [-1.0])] * 5

    rated = importances(make_search(tmp_path, SPACE, [*stopped, *misleading]))

    assert (rated.n_trials, rated.rough) == (24, True)
    assert rated.settings[0].name == "learning_rate"


def test_a_record_that_is_being_written_can_be_rated_and_is_not_changed(tmp_path):
    made = make_search(tmp_path / "a #b", SPACE, list(random_trials(12, by_rate)))
    before = made.study_path.read_bytes()

    with closing(sqlite3.connect(made.study_path)) as writer:
        writer.execute("BEGIN IMMEDIATE")  # as a search does while it records an epoch
        writer.execute("DELETE FROM trials")
        rated = importances(made)
        writer.rollback()

    assert rated.n_trials == 12
    assert made.study_path.read_bytes() == before
    assert not list((tmp_path).glob("a "))  # where SQLite would read an unquoted address to end


# --- refusals ------------------------------------------------------------------------------------


def test_too_few_trials_are_refused_with_how_many_are_needed(tmp_path):
    made = make_search(tmp_path, SPACE, [*random_trials(9, by_rate), ("FAIL", {}, [])])

    with pytest.raises(
        ConfigError, match=r"^mine: 9 trials have ended with a result, importance needs at least 10"
    ):
        importances(made)


def test_trials_that_are_equally_bad_are_refused_since_nothing_tells_them_apart(tmp_path):
    losses = iter([0.1] * 5 + [0.5] * 7)
    made = make_search(tmp_path, SPACE, list(random_trials(12, lambda _: next(losses))))

    with pytest.raises(
        ConfigError,
        match=r"^mine: half of the 12 trials are equally bad, so the better half is not def",
    ):
        importances(made)


def test_a_missing_record_is_refused_by_name(tmp_path):
    (tmp_path / "trials" / "0000").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"study\.db: cannot be read \(unable to open"):
        importances(Experiment(tmp_path))


# --- the command ---------------------------------------------------------------------------------


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(["importance", *arguments])
    return exit.value.code, capsys.readouterr()


def test_each_setting_has_a_bar_and_few_trials_are_said():
    settings = [
        Importance("learning_rate", 0.75, 12),
        Importance("pca_components", 0.25, 7),
        Importance("dropout", 0.001, 12),
    ]

    assert importance_lines(Importances(settings, 12)) == [
        "learning_rate   75 %  " + "#" * 28,
        "pca_components  25 %  " + "#" * 10 + "  in 7 of 12 trials",
        "dropout          0 %",
        "rough: 12 trials; the order becomes stable at about 48",
    ]
    assert not [line for line in importance_lines(Importances(settings, 48)) if "rough" in line]


def test_the_longest_line_has_80_columns():
    rated = Importances([Importance("augment_noise_snr_min", 1.0, 799)], 1000)

    (line,) = importance_lines(rated)

    assert len(line) == 80
    assert line.startswith("augment_noise_snr_min  100 %  ###")
    assert line.endswith("###  in 799 of 1000 trials")


def test_the_command_prints_what_the_evaluator_found(tmp_path, capsys):
    made = make_search(tmp_path, SPACE, list(random_trials(12, by_rate)))

    code, said = run(capsys, "mine", "--root", str(tmp_path))

    assert code == 0
    assert said.out.splitlines() == importance_lines(importances(made))


def test_json_holds_the_same_numbers(tmp_path, capsys):
    made = make_search(tmp_path, SPACE, list(random_trials(12, by_rate)))

    code, said = run(capsys, "mine", "--root", str(tmp_path), "--json")

    content = json.loads(said.out)
    rated = importances(made)
    assert code == 0
    assert (content["experiment"], content["trials"], content["rough"]) == ("mine", 12, True)
    assert content["settings"] == [
        {"name": each.name, "importance": each.share, "trials": each.n_trials}
        for each in rated.settings
    ]


def test_too_few_trials_end_the_command_with_2_and_one_line(tmp_path, capsys):
    make_search(tmp_path, SPACE, list(random_trials(3, by_rate)))

    code, said = run(capsys, "mine", "--root", str(tmp_path))

    assert (code, said.out) == (2, "")
    assert said.err == (
        "tune-encoder: mine: 3 trials have ended with a result, importance needs at least 10; "
        "wait, or raise budget.trials\n"
    )


def test_the_command_starts_no_ray_loads_no_torch_and_needs_no_scikit_learn(tmp_path):
    make_search(tmp_path, SPACE, list(random_trials(12, by_rate)))
    code = (
        "import sys\n"
        "sys.modules['sklearn'] = None  # as if not installed\n"
        "from tune_encoder.cli.main import make_parser\n"
        "options = make_parser().parse_args(sys.argv[1:])\n"
        "options.command(options)\n"
        "print([name for name in ('ray', 'torch') if name in sys.modules])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, "importance", "mine", "--root", str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.splitlines()[-1] == "[]"
