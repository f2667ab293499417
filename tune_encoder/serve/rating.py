"""The importance of settings, rated in a process of its own.

It loads Optuna and what that loads, several times the memory of the server, and keeps a processor
busy for seconds; neither should be felt in the pages.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.experiment.folder import Experiment
from tune_encoder.report.palette import BLUE
from tune_encoder.serve.charts import TEXT, Options, category_axis, chart, empty
from tune_encoder.serve.own_process import NoAnswer, answer, ask
from tune_encoder.system.formats import count_noun

WAITING = "The settings are being rated ..."


def importance_bars(experiment: Experiment) -> Options:
    """Draw the importance of each setting, or say why there is none yet."""
    try:
        rated = ask(__name__, str(experiment.path))
    except NoAnswer as error:
        return empty(f"The settings could not be rated\n({error_line(error)[:80]}).")
    except TuneEncoderError as error:
        return empty(error_line(error).replace(": ", ":\n", 1).replace("; ", ";\n"))
    bars = [
        {
            "value": round(100 * each["share"], 1),
            "name": f"{each['name']}: {each['share']:.0%}, over "
            f"{count_noun(each['n_trials'], 'trial')}",
        }
        for each in rated["settings"]
    ]
    label = {"show": True, "position": "right", "formatter": "{c} %", "color": TEXT}
    series = {"id": "share", "type": "bar", "data": bars, "label": label}
    return chart(
        {"name": "importance in %", "min": 0},
        {**category_axis([each["name"] for each in rated["settings"]]), "inverse": True},
        [{**series, "itemStyle": {"color": BLUE}}],
        dataZoom=[],
        toolbox={},
    )


def _rate(path: Path) -> Options:
    from tune_encoder.experiment.importance import importances  # loads Optuna

    return asdict(importances(Experiment(path)))


if __name__ == "__main__":
    answer(_rate, Path(sys.argv[1]))
