"""data demo, data import, data check, data repair."""

import argparse
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_setting, print_table, wrap_names
from tune_encoder.cli.generate import add_generate
from tune_encoder.cli.output import add_output_options
from tune_encoder.config import (
    DEMO_CLIPS,
    DEMO_CLIPS_PER_VOICE,
    FrontendSettings,
    RunSettings,
    TrainConfig,
)
from tune_encoder.errors import DataError
from tune_encoder.system.formats import count_noun, format_clock

if TYPE_CHECKING:
    from tune_encoder.data.checking import DataReport
    from tune_encoder.data.importing import ImportReport
    from tune_encoder.data.repairing import SplitRepair


def add_data(commands: Commands) -> None:
    """Add the command `data`."""
    data = commands.add_parser("data", help="Make, generate, import, check or repair a data set.")
    kinds = data.add_subparsers(required=True, metavar="WHAT")
    _add_demo(kinds)
    add_generate(kinds)
    _add_import(kinds)
    check = add_command(kinds, "check", _data_check)
    check.add_argument("folder", type=Path, help="data set to check")
    _add_repair(kinds)


def _add_demo(kinds: Commands) -> None:
    demo = add_command(kinds, "demo", _data_demo, outlives_reader=True)
    demo.add_argument("folder", type=Path, help="new folder")
    for option, split in (
        ("--voices", "train"),
        ("--val-voices", "val"),
        ("--test-voices", "test"),
    ):
        default = f"as many as have {DEMO_CLIPS[split]} clips"
        demo.add_argument(option, type=_count, help=f"voices in {split} (default: {default})")
    demo.add_argument(
        "--clips-per-voice",
        type=functools.partial(_count, minimum=1),
        default=DEMO_CLIPS_PER_VOICE,
        help="recordings of each voice of val and test, unlike those of train, where a voice has "
        f"one; 1: a single one, like those of train (default: {DEMO_CLIPS_PER_VOICE})",
    )
    demo.add_argument("--seed", type=_count, default=RunSettings().seed, help="seed of the voices")


def _add_import(kinds: Commands) -> None:
    into = add_command(kinds, "import", _data_import, outlives_reader=True)
    source = into.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--audio", type=Path,
        help="folder of NAME*.wav (flac, ogg, mp3, opus, aiff), or of a folder for each voice",
    )  # fmt: skip
    source.add_argument(
        "--manifest", type=Path,
        help="CSV, TSV or JSON lines with audio, style, speaker, text, lang and split",
    )  # fmt: skip
    into.add_argument("--styles", type=Path, help="folder of NAME.json or NAME/*.json")
    into.add_argument("--out", type=Path, required=True, help="new folder")
    into.add_argument(
        "--dry-run",
        action="store_true",
        help="read all and print what would be made; write nothing",
    )
    into.add_argument(
        "--split",
        choices=("voices", "time"),
        default="",
        help="hold out whole voices, or cut each clip by time (default: voices where most have "
        "several clips)",
    )
    into.add_argument(
        "--hold-out", nargs="+", default=[], metavar="NAME", help="voices for test alone"
    )
    into.add_argument("--test", type=Path, help="folder of recordings that make test")
    into.add_argument(
        "--skip-bad", action="store_true",
        help="leave out what cannot be used, and list it (default: write nothing then)",
    )  # fmt: skip
    add_setting(into, FrontendSettings, "sample_rate")
    into.add_argument(
        "--seed", type=_count, default=RunSettings().seed, help="seed of the held-out voices"
    )
    add_output_options(into)


def _add_repair(kinds: Commands) -> None:
    repair = add_command(kinds, "repair", _data_repair, outlives_reader=True)
    repair.add_argument("folder", type=Path, help="data set to repair, which stays as it is")
    repair.add_argument("--out", type=Path, required=True, help="new folder")
    repair.add_argument(
        "--presets", type=Path, help="folder of style JSONs that are known to be voices"
    )


def _count(text: str, minimum: int = 0) -> int:
    try:
        value = int(text)
    except ValueError:
        wrong = f"{text!r} is no whole number"
    else:
        if value >= minimum:
            return value
        wrong = f"{value} is negative" if value < 0 else f"{value} is too small"
    raise argparse.ArgumentTypeError(f"{wrong}; it must be {minimum} or more")


def _data_demo(options: argparse.Namespace) -> None:
    """Make a data set of synthetic voices."""
    from tune_encoder.api.data_sets import DemoOptions, demo_data

    given = {name: getattr(options, name) for name in DemoOptions.__annotations__}
    made = demo_data(options.folder, **given)
    clips = count_noun(sum(made["clips"].values()), "clip")
    voices = count_noun(sum(made["voices"].values()), "voice")
    print(f"wrote {clips} of {voices} to {options.folder}")


def _data_import(options: argparse.Namespace) -> None:
    """Make a data set from recordings and their voice styles."""
    from tune_encoder.api.data_sets import ImportOptions, import_data

    given = {name: getattr(options, name) for name in ImportOptions.__annotations__}
    report = import_data(options.out, options.audio, options.styles, **given)
    for warning in (*report.warnings, *report.faults):
        print(f"warning: {warning}")
    for reason in report.left_out:
        print(f"left out: {reason}")
    if report.cut:
        print(report.cut)
    for line in _voice_lines(report.clips):
        print(line)
    if options.dry_run:
        _print_plan(report)
    counts = ", ".join(f"{count} {split}" for split, count in report.counts.items())
    done = "would write" if options.dry_run else "wrote"
    voices = count_noun(len(report.voices), "voice")
    options.result = f"{done} {counts} clips of {voices} to {options.out}"
    print(options.result)
    if report.validation:
        print(report.validation)


def _print_plan(report: "ImportReport") -> None:
    """Show the splits, and the voices of the small ones."""
    rows = [("split", "clips", "voices", "duration")]
    for split, count in report.counts.items():
        voices, seconds = len(report.voices_of[split]), report.seconds[split]
        rows.append((split, str(count), str(voices), format_clock(seconds)))
    print_table("lrrr", rows)
    for split in ("val", "test"):
        names = ", ".join(report.voices_of[split])
        for line in wrap_names(f"voices of {split}: {names or 'none'}"):
            print(line)


def _voice_lines(clips: dict[str, int]) -> Iterator[str]:
    """Say how many clips each voice has: the voices by their number of clips, few first."""
    for count in sorted(set(clips.values())):
        names = ", ".join(name for name, each in clips.items() if each == count)
        yield from wrap_names(f"{count_noun(count, 'clip')}: {names}")


def _data_check(options: argparse.Namespace) -> None:
    """Check a data set and show what it contains."""
    from tune_encoder.api.data_sets import check_data

    report = check_data(options.folder)
    if report.splits:
        print_table("lrrrrl", _split_rows(report))
    for problem in report.problems:
        print(f"{'error' if problem.is_error else 'warning'}: {problem.message}")
    if report.errors:
        raise DataError(
            f"{options.folder}: {count_noun(len(report.errors), 'error')}; fix or remove the files"
            f"{report.repair_hint(options.folder)}"
        )
    print(_epoch_of(report))
    print("ok")


def _epoch_of(report: "DataReport") -> str:
    """Say what an epoch of training on this data is with the default settings."""
    from tune_encoder.data.crops import crops_per_epoch, lengths_of, steps_per_epoch

    config = TrainConfig()
    train = next(split for split in report.splits if split.name == "train")
    lengths = lengths_of(train.durations, config)
    crops = crops_per_epoch(lengths, config)
    return (
        f"an epoch: {count_noun(steps_per_epoch(lengths, config), 'step')}, "
        f"{crops} crops of {config.crop_seconds:g} s, with the default settings"
    )


def _split_rows(report: "DataReport") -> Iterator[tuple[str, ...]]:
    yield "split", "clips", "voices", "styles", "duration", "sample rates"
    for split in report.splits:
        rates = ", ".join(f"{rate or 'unknown'}" for rate in sorted(split.sample_rates, key=str))
        voices, styles = str(len(split.voices) or "?"), str(len(split.styles))
        yield split.name, str(split.clips), voices, styles, format_clock(split.seconds), rates


def _data_repair(options: argparse.Namespace) -> None:
    """Copy a data set, with each style's rows scaled to norm 1, or left out if it is no voice."""
    from tune_encoder.api.data_sets import repair_data

    repairs = repair_data(options.folder, options.out, options.presets)
    print_table("lrrrr", _repair_rows(repairs))
    for repair in repairs.values():
        for reason in repair.unreadable:
            print(f"left out: {reason}")
        if repair.far:
            print(f"left out: {repair.far[0]}{_and_others(len(repair.far) - 1)}")
    kept = sum(repair.kept for repair in repairs.values())
    left_out = sum(len(repair.left_out) for repair in repairs.values())
    print(f"wrote {count_noun(kept, 'clip')} to {options.out}, left out {left_out}")


def _and_others(count: int) -> str:
    return f"; and {count_noun(count, 'other')} like it" if count else ""


def _repair_rows(repairs: "dict[str, SplitRepair]") -> Iterator[tuple[str, ...]]:
    yield "split", "copied", "scaled to norm 1", "no voice", "unreadable"
    for split, repair in repairs.items():
        counts = (repair.copied, repair.scaled, len(repair.far), len(repair.unreadable))
        yield split, *map(str, counts)
