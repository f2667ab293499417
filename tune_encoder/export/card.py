"""MODEL_CARD.md: a model's architecture, origin and scores, for people."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from tune_encoder.config import TrainConfig
from tune_encoder.data.score_words import below_baseline, describe_interval, skill_name
from tune_encoder.export.combining import AVERAGE, BLEND, ENSEMBLE, Model
from tune_encoder.export.contents import (
    Alternative,
    DataDescription,
    FoldedScores,
    Member,
    Metrics,
    Provenance,
    Retrained,
    SearchCost,
    Versions,
)
from tune_encoder.model.encoder import count_parameters
from tune_encoder.system.formats import count_noun, format_clock, format_value
from tune_encoder.system.manifest import MANIFEST, PROVENANCE

_SPLITS = ("train", "val", "test")
_COLUMNS = (
    "skill", "skill_ttl", "skill_dp", "centered_cosine", "retrieval", "retrieval_chance"
)  # fmt: skip
_FILES = {
    "config.yaml": "to train again: `tune-encoder train --config config.yaml`",
    "model.safetensors": "the weights",
    "model.pt": "full checkpoint, to continue training on the same clips",
    "audio_encoder.onnx": "mel_spectrogram [B, n_mels, T] to style_ttl and style_dp",
    "voice_encoder.onnx": "audio [B, T] at the model's rate to style_ttl and style_dp",
    "audio_encoder.int8.onnx": "the same, quantised to 8 bits",
    "voice_encoder.int8.onnx": "the same, quantised to 8 bits",
    "voices.npz": "styles of the training voices",
    "novelty.npz": "what the training recordings sound like, so that `clone` knows what is unlike",
    "metrics.json": "scores, baselines, cost of the search",
    "provenance.json": "seeds, versions, fingerprints, SHA-256 of every file",
}


def write_card(
    path: Path,
    metrics: Metrics,
    provenance: Provenance,
    model: Model,
) -> None:
    """Write the card.

    Args:
        path: The file, in the model's folder.
        metrics: The content of metrics.json.
        provenance: The content of provenance.json.
        model: What was exported.
    """
    template = files("tune_encoder.export").joinpath("MODEL_CARD.md").read_text(encoding="utf-8")
    content = {
        "name": metrics["experiment"],
        "folder": "MODEL_DIR",
        "made_at": provenance["made_at"],
        "version": provenance["versions"]["export"]["tune-encoder"],
        "why": metrics["why"],
        "what": _source_checkpoints(metrics),
        **_encoder_fields(model),
        "fingerprint": metrics["fingerprint"],
        "data": _data_table(provenance),
        "disjoint": describe_overlap(provenance["data"]["known_styles"]),
        "n_voices": provenance["data"]["voices"]["train"],
        "training": _training_section(metrics, model.members[0].config),
        "scores": _score_table(metrics),
        "uncertainty": "\n".join(f"- {line}" for line in describe_uncertainty(metrics)),
        "scored_on": _scored_on(metrics, provenance["trained_on"]),
        "combined": _alternatives_section(metrics),
        "files": _file_list(path.parent),
        "versions": _version_table(provenance["versions"]),
    }
    path.write_text(Template(template).substitute(content), encoding="utf-8")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _source_checkpoints(metrics: Metrics) -> str:
    """Name the checkpoints it is made of."""
    members = metrics["members"]
    words = [
        f"{_trained_in(member)}, epoch {member['epoch']}{_share_words(member)}"
        for member in members
    ]
    kinds = {
        AVERAGE: "average of the weights of ",
        ENSEMBLE: "mean of the predictions of ",
        BLEND: "weighted mean of the predictions of ",
    }
    return f"{kinds.get(metrics['kind'], '')}{'; '.join(words)}"


def _share_words(member: Member) -> str:
    return f" ({member['share']:.0%})" if "share" in member else ""


def _trained_in(member: Member) -> str:
    where = member["trained_in"]
    return f"the run {where}" if member["trial"] is None else f"trial {member['trial']} of {where}"


def _encoder_fields(model: Model) -> dict[str, str]:
    config = model.config
    kinds = dict.fromkeys(_encoder_name(member.config) for member in model.members)
    return {
        "encoder": f"{'; '.join(kinds)}; {count_parameters(model.encoder):,} weights",
        "input": (
            f"{config.n_mels} log-mel bands, {config.sample_rate} Hz, windows of "
            f"{config.crop_seconds:g} s, styles averaged"
        ),
    }


def _encoder_name(config: TrainConfig) -> str:
    return (
        f"{config.encoder_type}, {config.num_layers} blocks of {config.hidden_dim} channels, "
        f"head {config.head}"
    )


# --- data and search -----------------------------------------------------------------------------


def _data_table(origin: Provenance) -> str:
    """The splits; the clips of val are among those of train if the two were put together."""
    data, together = origin["data"], "folds" in origin or "refitted" in origin
    words = {"train": "train and val" if together else "train"}
    rows = [
        [words.get(name, name), data["voices"][name], data["clips"][name], _duration(data, name)]
        for name in _SPLITS
        if name in data["clips"] and not (together and name == "val")
    ]
    return _table(["split", "voices", "clips", "duration"], rows)


def _duration(data: DataDescription, split: str) -> str:
    return format_clock(data["hours"][split] * 3600)


def describe_overlap(known: Mapping[str, int]) -> str:
    """Say whether the model was trained on the voices it is scored on."""
    shared = {name: count for name, count in known.items() if count}
    if not shared:
        return "The splits have different voices: no style of the scored splits was trained on."
    counts = ", ".join(f"{count} of {name}" for name, count in shared.items())
    return (
        f"The splits share voices: {counts} were trained on too. The scores tell how well known "
        "voices are recognised, not how well new ones are cloned."
    )


def _training_section(metrics: Metrics, config: TrainConfig) -> str:
    return _run_section(metrics) if "run" in metrics else _search_section(metrics, config)


def _run_section(metrics: Metrics) -> str:
    run, seed = metrics["run"], metrics["seed"]
    rows = [[name, format_value(value)] for name, value in run["settings"].items()]
    line = (
        f"One run by hand with seed {seed}, without a search: {count_noun(run['epochs'], 'epoch')} "
        f"of at most {run['budget']}, {format_clock(run['hours'] * 3600)} of training."
    )
    if not rows:
        return f"{line}\n\nAll settings have their defaults."
    return f"{line}\n\n{_table(['setting', 'value'], rows)}"


def _search_section(metrics: Metrics, config: TrainConfig) -> str:
    lines = [_cost_sentence("The search", metrics["search"])]
    lines += [_cost_sentence("A confirmation", cost) for cost in metrics["confirmation"]]
    rows = [
        [name, format_value(getattr(config, name)), words]
        for name, words in metrics["space"].items()
    ]
    return "\n\n".join([*lines, _table(["setting", "value", "searched"], rows)])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cost_sentence(what: str, cost: SearchCost) -> str:
    states = ", ".join(f"{count} {state}" for state, count in cost["trials"].items())
    n_trials = count_noun(sum(cost["trials"].values()), "trial")
    time = format_clock(cost["trial_hours"] * 3600)
    return (
        f"{what}: {n_trials} ({states}), {count_noun(cost['epochs'], 'epoch')}, {time} of training."
    )


# --- scores --------------------------------------------------------------------------------------


def _score_table(metrics: Metrics) -> str:
    head = [
        "split", "voices", "", "skill", "95 %", "ttl", "dp", "centred", "retrieval", "chance"
    ]  # fmt: skip
    return _table(head, (row for split in metrics["scores"] for row in _score_rows(metrics, split)))


def _score_rows(metrics: Metrics, split: str) -> Iterable[list[str]]:
    between = metrics["skill_interval_95"][split]
    for name, scores in metrics["scores"][split].items():
        skill, *others = (f"{scores[column]:.3f}" for column in _COLUMNS)
        interval = f"{between[0]:.3f} to {between[1]:.3f}" if between and name == "model" else ""
        yield [split, metrics["voices"][split], name, skill, interval, *others]


def describe_uncertainty(metrics: Metrics) -> list[str]:
    """Describe the interval of the skill on each split, and where the model is below a baseline."""
    lines = []
    for split, kind in metrics["voices"].items():
        interval = describe_interval(metrics["skill_interval_95"][split], kind)
        lines.append(f"{skill_name(kind)} on {split}: {interval}")
    return [*lines, *describe_defeats(metrics)]


def describe_defeats(metrics: Metrics) -> list[str]:
    """Say on which splits the model is below a baseline, one line each."""
    lines = []
    for split, scores in metrics["scores"].items():
        baselines = {name: each for name, each in scores.items() if name != "model"}
        kind = metrics["voices"][split]
        lines.append(below_baseline(scores["model"]["skill"], baselines, split, kind))
    return [line for line in lines if line]


def _scored_on(metrics: Metrics, trained_on: Sequence[str]) -> str:
    if "folded" in metrics:
        return describe_folds(metrics["folded"])
    if "refitted" in metrics:
        return (
            "The model was chosen on val, then trained again on train and val together, like the "
            "baselines; test was not used."
        )
    if "val" in trained_on:
        return "The model was trained on val too, so only the test scores are meaningful."
    return "The epoch was selected by its val score, which is thus optimistic; test was not used."


def describe_folds(folded: FoldedScores) -> str:
    """Say what the scores over folds are of, and how certain they are."""
    scores, folds = folded["scores"]["model"], folded["folds"]
    return (
        f"The model was trained on all voices of train and val. The scores of *folds* are of "
        f"{folds} encoders with its settings and epochs, each on voices that it was not trained "
        f"on: skill {scores['skill']:.3f}, standard error over folds {scores['skill_se']:.3f}. The "
        "epoch was selected by them, which is optimistic."
    )


def _alternatives_section(metrics: Metrics) -> str:
    """List the alternatives to the single best epoch."""
    lines = [describe_alternative(alternative) for alternative in metrics["combined"]]
    lines += describe_int8(metrics)
    lines += describe_refit(metrics)
    if "retrained" in metrics:
        retrained = metrics["retrained"]
        lines += describe_retraining(retrained, metrics["voices"][retrained["split"]])
    return "\n".join(f"- {line}" for line in lines)


def describe_alternative(alternative: Alternative) -> str:
    """Compare an average or ensemble with the single best epoch."""
    kind, n_members = alternative["kind"], alternative["members"]
    missing = (
        ""
        if n_members == alternative["asked"]
        else f" ({alternative['asked']} asked, {n_members} kept)"
    )
    if n_members == 1:
        return f"{kind}: not possible with only one checkpoint; raise resources.keep"
    words = (
        f"{kind} of {n_members}{missing}: {alternative['metric']} {alternative['value']:.4f} on "
        f"val, single epoch {alternative['value_alone']:.4f}, {_verdict(alternative)}"
    )
    if "test_difference_95" not in alternative:
        return words
    difference = alternative["test_skill"] - alternative["test_skill_alone"]
    said = describe_difference(difference, alternative["test_difference_95"])
    return f"{words}; skill on test {said}"


def _verdict(alternative: Alternative) -> str:
    if alternative.get("tied"):
        return "used, as val cannot tell them apart and errors of two kinds cancel"
    return "so used" if alternative["taken"] else "so not used"


def describe_refit(metrics: Metrics) -> list[str]:
    """Compare a model trained on train and val with itself before, or say why it is not."""
    if "not_refitted" in metrics:
        return [f"not trained on val, too, since that failed: {metrics['not_refitted']}"]
    if "refitted" not in metrics:
        return []
    refitted, name = metrics["refitted"], skill_name(metrics["voices"]["test"])
    difference = refitted["test_skill"] - refitted["test_skill_before"]
    n_seeds = refitted.get("seeds", 1)
    often = f", each network with up to {n_seeds} seeds, whose predictions are averaged"
    seeds = often if n_seeds > 1 else ""
    return [
        f"chosen on val at epoch {refitted['epoch']} with a skill of {refitted['val_skill']:.3f}, "
        f"then trained on train and val together for {metrics['epoch']}{seeds}: {name} on test "
        + describe_difference(difference, refitted["test_difference_95"])
    ]


def describe_int8(metrics: Metrics) -> list[str]:
    """Compare the int8 ONNX files with float32."""
    skills = metrics["onnx"].get("int8_skill", {})
    full = {split: metrics["scores"][split]["model"]["skill"] for split in skills}
    names = {split: skill_name(kind) for split, kind in metrics["voices"].items()}
    return [
        f"int8: {names[split]} {skill:.3f} on {split}, {skill - full[split]:+.4f} against float32"
        for split, skill in skills.items()
    ]


def describe_retraining(retrained: Retrained, kind: str) -> list[str]:
    """Compare retrained models with that of the search, on voices of a kind."""
    sd = "" if retrained["sd"] is None else f", sd {retrained['sd']:.3f}"
    seeds = count_noun(len(retrained["seeds"]), "seed")
    return [
        f"{skill_name(kind)} on {retrained['split']}: search {retrained['search_skill']:.3f}, "
        f"retrained mean {retrained['mean']:.3f}{sd} over {seeds}",
        f"exported {retrained['exported_skill']:.3f}: "
        + describe_difference(
            retrained["exported_skill"] - retrained["search_skill"], retrained["difference_95"]
        ),
    ]


def describe_difference(difference: float, interval: tuple[float, float] | None) -> str:
    """Describe a difference in skill and whether it is significant, by its 95 % interval."""
    if interval is None:
        return f"{difference:+.3f} (too few voices for an interval)"
    low, high = interval
    verdict = "significant" if low > 0 or high < 0 else "not significant"
    return f"{difference:+.3f} (95 % {low:+.3f} to {high:+.3f} over voices), {verdict}"


# --- files and versions --------------------------------------------------------------------------


def _file_list(folder: Path) -> str:
    names = sorted({path.name for path in folder.iterdir()} - {MANIFEST} | {PROVENANCE})
    return _table(["file", "content"], [[f"`{n}`", _FILES.get(n, "")] for n in names])


def _version_table(versions: Versions) -> str:
    names = list(dict.fromkeys([*versions["search"], *versions["export"]]))
    rows = [
        [n, *(each.get(n, "") for each in (versions["search"], versions["export"]))] for n in names
    ]
    return _table(["", "search", "export"], rows)
