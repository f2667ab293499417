"""The keyword options of what makes a model of a search or run."""

from typing import TypedDict


class ExportOptions(TypedDict, total=False):
    """Options of an export; the defaults are those of the command line."""

    top_k: int
    """Number of best trials to export, each as a model folder."""
    trial: int
    """Number of the trial to export, in place of the best."""
    formats: str
    """torch, onnx or both, as "torch,onnx"."""
    int8: bool
    """Whether to also quantise the ONNX files to int8."""
    average: int
    """Number of best epochs whose weights are averaged."""
    ensemble: int
    """Number of best trials whose predictions are averaged."""
    blend: str
    """auto, or none: no weighted mean of the best trials' predictions is tried."""
    refit: str
    """auto, always or none: whether what is exported is trained again on train and val."""
    refit_seeds: int | None
    """Seeds with which a network is trained again; by default 1, or 3 on known voices if quick."""


class RetrainOptions(TypedDict, total=False):
    """All keyword options of `Experiment.retrain`."""

    epochs: int | None
    """Epochs of each run; by default as in the search."""
    seeds: int
    """Number of runs, each with a seed that the search did not use."""
    with_val: bool
    """Whether to train on val too; then only test is a fair score."""
    formats: str
    """torch, onnx or both, as "torch,onnx"."""
    int8: bool
    """Whether to also quantise the ONNX files to int8."""
