"""Choose the start configs of a space from recorded curves, and say what they are worth.

    python -m tests.benchmarks.portfolio [TESTBED] [--size 8]

TESTBED is a folder that `record_curves` wrote. Prints a `start` section, and the regret on each
data set of configs that were chosen on the others alone: 0 is the best config recorded there, 100 a
median one. Beside them: the best of as many random configs, on average. Then how early the configs'
ranks are those of their ends, which says where a first rung may be.
"""

import argparse
from collections.abc import Mapping, Sequence
from math import comb, floor, log10
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tests.benchmarks.simulated.testbed import SHIPPED, TableTask, read_testbed
from tune_encoder.config import SettingValue
from tune_encoder.experiment.portfolio import SIZE, cover
from tune_encoder.space import Parameter

RANKED_AT = (2, 4, 8, 16, 25)  # epochs
DIGITS = 2  # of a float in a start config: finer ones make no difference

Array = NDArray[np.float64]


def choose(tasks: Sequence[TableTask], size: int) -> list[int]:
    """Choose among the configs, which all tables share."""
    return cover(regrets(tasks), tasks[0].places, size)


def regrets(tasks: Sequence[TableTask]) -> Array:
    """Return the regret (tables, configs) of each config's best epoch."""
    return np.array([[task.regret(curve.min()) for curve in task.curves] for task in tasks])


def left_out(tasks: Sequence[TableTask], size: int) -> tuple[Array, Array]:
    """Return regrets (tables, size) of the first 1, 2, ... configs of other tables' portfolio.

    The second are those of as many random configs.
    """
    chosen, random = [], []
    for task in tasks:
        (own,) = regrets([task])
        others = [each for each in tasks if each is not task]
        chosen.append(np.minimum.accumulate(own[choose(others, size)]))
        random.append([expected_best(own, n) for n in range(1, size + 1)])
    return np.array(chosen), np.array(random)


def expected_best(values: Array, n: int) -> float:
    """Return the mean, over all subsets of n values, of the lowest in each."""
    ordered = np.sort(values)
    # The i-th lowest is the lowest of a subset whose others are all among the higher ones.
    counts = [comb(len(ordered) - 1 - i, n - 1) for i in range(len(ordered))]
    return float(ordered @ np.array(counts, float) / comb(len(ordered), n))


def rank_correlations(task: TableTask, epochs: Sequence[int]) -> list[float]:
    """Return Spearman's correlation of the configs' best loss until each epoch with that of all."""
    ends = task.curves.min(axis=1)
    return [float(spearmanr(task.curves[:, :n].min(axis=1), ends).statistic) for n in epochs]


def start_section(configs: Sequence[Mapping[str, SettingValue]], of: Sequence[Parameter]) -> str:
    """Write configs as a space's section `start`, floats rounded inside their ranges."""
    ranges = {parameter.name: parameter for parameter in of}
    rounded = [{name: _rounded(v, ranges[name]) for name, v in each.items()} for each in configs]
    return yaml.safe_dump({"start": rounded}, sort_keys=False, default_flow_style=None, width=96)


def _rounded(value: SettingValue, parameter: Parameter) -> SettingValue:
    if not isinstance(value, float) or value == 0 or parameter.kind == "choice":
        return value
    return parameter.nearest(round(value, DIGITS - 1 - floor(log10(abs(value)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("testbed", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--size", type=int, default=SIZE)
    options = parser.parse_args()
    tasks = [task for task in read_testbed(options.testbed) if isinstance(task, TableTask)]
    chosen = choose(tasks, options.size)
    configs = [tasks[0].cube.settings(tasks[0].coordinates[i]) for i in chosen]
    print(start_section(configs, tasks[0].parameters))
    print(f"regret on each of {len(tasks)} data sets of configs chosen on the others")
    print(f"{'configs':>20}{''.join(f'{n:7}' for n in range(1, len(chosen) + 1))}")
    found, random = left_out(tasks, len(chosen))
    for task, row in zip(tasks, found, strict=True):
        print(_line(task.name, row))
    print(_line("mean", found.mean(axis=0)))
    print(_line("random configs", random.mean(axis=0)))
    print("rank correlation of the best loss so far with that of all epochs")
    print(f"{'epochs':>20}{''.join(f'{n:7}' for n in RANKED_AT)}")
    for task in tasks:
        print(f"{task.name:20}{''.join(f'{c:7.2f}' for c in rank_correlations(task, RANKED_AT))}")


def _line(name: str, values: Array) -> str:
    return f"{name:20}{''.join(f'{100 * value:7.1f}' for value in values)}"


if __name__ == "__main__":
    main()
