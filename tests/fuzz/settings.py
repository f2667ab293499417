"""Mutations of YAML: configs, search spaces, and the search.yaml of an experiment."""

from pathlib import Path

import yaml

from tests.builders import new_experiment
from tests.fuzz.mutation import changed, choose, damaged
from tests.fuzz.running import Kind
from tune_encoder.config import TrainConfig, load_config, to_mapping, write_yaml
from tune_encoder.experiment.folder import Experiment
from tune_encoder.space import builtin_spaces, load_space


class Settings(Kind):
    """Files of settings that people write, and the one that a search writes."""

    def __init__(self, folder):
        super().__init__(folder)
        self.experiment = new_experiment(folder)
        config = write_yaml(to_mapping(TrainConfig())).encode()
        spaces = [path.read_bytes() for path in builtin_spaces().values()]
        search = (self.experiment.path / "search.yaml").read_bytes()
        self.readers = [
            (folder / "config.yaml", [config, b"epochs: 3\nlearning_rate: 1e-3\n"], _read_config),
            (folder / "space.yaml", spaces, load_space),
            (self.experiment.path / "search.yaml", [search], _read_search),
        ]

    def run(self, rng):
        path, contents, read = choose(rng, self.readers)
        path.write_bytes(_mutated(rng, choose(rng, contents)))
        read(path)


def _mutated(rng, content):
    if rng.random() < 0.4:
        return damaged(rng, content)
    value = changed(rng, yaml.safe_load(content))  # noqa: TID251
    return yaml.safe_dump(value, allow_unicode=bool(rng.random() < 0.5)).encode("utf-8", "replace")


def _read_config(path: Path):
    load_config(path, {})


def _read_search(path: Path):
    experiment = Experiment(path.parent)
    experiment.space()
    experiment.voice_kind()
    experiment.storage_settings()
    experiment.fold_baselines()
    experiment.identity()
    experiment.record_name()
    experiment.data_source()
