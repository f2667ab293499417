"""Experiments made up: their folders and records are written as a search writes them.

Nothing is trained. `new_experiment` makes a folder in which nothing has begun, `MadeSearch` fills
a record trial by trial, and `make_search` makes a whole one of a list of trials.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tune_encoder import space as spaces
from tune_encoder.experiment.folder import SearchContent, create_experiment
from tune_encoder.space import space_to_content
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.worker.settings import WorkerSettings


def parse_space(content, where="test", folder=Path()):
    """A space whose trials are all networks: without the closed-form encoder as trial 0."""
    searcher = {"closed_form": False, **content.get("searcher", {})}
    return spaces.parse_space({**content, "searcher": searcher}, where, folder)


SPACE = parse_space({"space": {"dropout": {"float": [0.0, 0.4]}}}, "test", Path())


def new_experiment(root, name="mine", space=SPACE, **content):
    """The folder of a search that has not begun.

    `space` may also be what search.yaml says of it, right or wrong; `content` stands there too.
    """
    described = space if isinstance(space, dict) else space_to_content(space)
    written: dict[str, Any] = {
        "space": described,
        "data_dir": "",
        "fingerprint": "",
        "versions": {},
    }
    return create_experiment(root, name, cast("SearchContent", {**written, **content}))


def epoch_row(epoch, value, space=SPACE, **more):
    """What is recorded of an epoch whose metric is `value`; its skill is 1 less `value` for a loss.

    `more` takes the place of what it names, or is added.
    """
    scores = {"val_loss": 1 - value, "val_skill": 1 - value, space.metric.name: value}
    row = {"epoch": epoch, "finished": False, "seconds": 1.0, **scores}
    return {**row, "objective": space.metric.sign * value, **more}


def worker_settings(**told):
    """What the worker of a trial is told, of a search that is nowhere if `told` does not say."""
    nowhere = {"experiment": Path("none"), "pack": Path("none"), "storage": None}
    names = {"identity": "mine", "launch": "1", "home": ""}
    trial = {"cpus": 1, "processes": 1, "folds": 1, "searched": ()}
    return WorkerSettings(**{**nowhere, **names, **trial, **told})


class RecordWithCopies(Record):
    """A record in which a config may be tried twice, as earlier versions did."""

    def find(self, settings):
        return None


class MadeSearch:
    """A search whose trials are what a test says.

    `configs` are what its first trials search; without them the record proposes, as it does in a
    search. `row_of` makes the row of (trial's number, epoch, metric).
    """

    def __init__(self, root, space=SPACE, name="mine", *, configs=(), row_of=None, **content):
        self.space = space
        self.experiment = new_experiment(root, name, space, **content)
        self.row_of = row_of or (lambda number, epoch, value: epoch_row(epoch, value, space))
        own = replace(space, searcher=replace(space.searcher, closed_form=False))
        drawn = replace(own.searcher, name="random")  # what configs leave open
        first = replace(own, start=[*configs], searcher=drawn) if configs else own
        self.record = RecordWithCopies.open(self.experiment, first)

    def trial(self, values, state="RUNNING", reason=""):
        """The next trial, with the metric of each of its epochs, and how it ended; its number."""
        number = self.record.ask().number
        for epoch, value in enumerate(values, start=1):
            self.record.add_row(number, self.row_of(number, epoch, value))
        if state == "COMPLETE":
            self.record.complete(number)
        elif state == "PRUNED":
            self.record.prune(number, reason)
        elif state == "FAIL":
            self.record.fail(number, reason)
        return number


def make_search(root, space, trials, name="mine", row_of=None, **content):
    """An experiment as a search leaves it.

    `trials` are (state, searched settings, metric of each epoch), as ("PRUNED", {...}, [0.9, 0.8]),
    and a reason if there is one.
    """
    configs = [searched for _, searched, *_ in trials]
    made = MadeSearch(root, space, name, configs=configs, row_of=row_of, **content)
    for state, _, values, *reason in trials:
        made.trial(values, state, *reason)
    made.record._study._file.close()  # as when its program has ended: no log is left beside it
    return made.experiment
