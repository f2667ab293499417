"""The importance of settings, rated in a process of its own.

It loads Optuna and what that loads, several times the memory of the server, and keeps a processor
busy for seconds; neither should be felt in the pages.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.experiment.folder import Experiment
from tune_encoder.report.palette import BLUE
from tune_encoder.serve.charts import TEXT, Options, category_axis, chart, empty
from tune_encoder.system.formats import count_noun
from tune_encoder.system.signals import end_with_parent

_LONGEST_S = 300.0
_NICENESS = 10  # the search comes first
WAITING = "The settings are being rated ..."


def importance_bars(experiment: Experiment) -> Options:
    """Draw the importance of each setting, or say why there is none yet."""
    try:
        rated = _rate(experiment.path)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return empty(f"The settings could not be rated\n({error_line(error)[:80]}).")
    if "problem" in rated:
        return empty(str(rated["problem"]).replace(": ", ":\n", 1).replace("; ", ";\n"))
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
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        timeout=_LONGEST_S,
        check=True,
        preexec_fn=end_with_parent,
    )
    found: Options = json.loads(done.stdout)
    return found


def _main() -> None:
    os.nice(_NICENESS)
    from tune_encoder.experiment.importance import importances  # loads Optuna

    try:
        answer: object = asdict(importances(Experiment(Path(sys.argv[1]))))
    except TuneEncoderError as error:
        answer = {"problem": error_line(error)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main()
