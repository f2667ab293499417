"""Repair of data sets, as the generator of Supertonic's training guide writes them."""

import re
import zipfile

import numpy as np
import pytest

from tests.cli.data_commands import run
from tests.data.generated import (
    GENERATOR_RATE,
    make_preset,
    mixture,
    noise_style,
    perturbed,
    write_generated,
)
from tests.fabricate import make_sample
from tune_encoder.data.checking import check_data
from tune_encoder.data.repairing import repair_data
from tune_encoder.data.samples import find_samples, read_sample, write_sample
from tune_encoder.data.voice_style import VoiceStyle, write_voice_style
from tune_encoder.errors import ConfigError, DataError, StyleNormError

__all__ = ["run"]  # a fixture

DATA = 3
PRESETS = [make_preset(seed) for seed in range(10)]


@pytest.fixture
def generated(tmp_path):
    """Of each split: mixtures that `data check` accepts, one that it refuses, and noise."""
    folder, rng = tmp_path / "generated", np.random.default_rng(0)
    for number, split in enumerate(("train", "val")):
        first, second, third, fourth = PRESETS[4 * number : 4 * number + 4]
        styles = {
            "near": mixture(first, second, 0.9),
            "nearer": mixture(third, fourth, 0.95),
            "unit": mixture(first, third, 1.0),
            "half": mixture(first, second, 0.45),
            "noisy": perturbed(first, rng),
            "random": noise_style(rng),
        }
        for seed, (name, style) in enumerate(styles.items()):
            write_generated(folder / split / f"{name}.npz", style, seed)
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "repaired"


def names_of(folder):
    return [path.stem for path in find_samples(folder)]


def add_presets(folder, version=0):
    folder.mkdir()
    for seed in range(3):
        write_voice_style(folder / f"M{seed}.json", make_preset(seed, version), {})
    return folder


# --- what is kept --------------------------------------------------------------------------------


def test_mixtures_are_scaled_and_noise_is_left_out_of_each_split(generated, out):
    with pytest.raises(StyleNormError, match=r"half\.npz: style_ttl row \d has norm 0\.8"):
        read_sample(generated / "train" / "half.npz")

    repairs = repair_data(generated, out, None)

    for split in ("train", "val"):
        assert names_of(out / split) == ["half", "near", "nearer", "unit"]
        assert (repairs[split].copied, repairs[split].scaled) == (1, 3)
        assert len(repairs[split].far) == 2
        assert repairs[split].unreadable == []
    assert names_of(out / "test") == []
    assert check_data(out, GENERATOR_RATE).errors == []
    first = repairs["train"].far[0]
    assert re.fullmatch(
        rf"{generated}/train/noisy\.npz: style_ttl is 0\.8\d from the span of 6 styles; a voice is "
        r"at most 0\.5 from it",
        first,
    )


def test_a_scaled_style_has_rows_of_norm_1_that_point_where_they_did(generated, out):
    repair_data(generated, out, None)

    sample = read_sample(out / "train" / "half.npz")
    expected = mixture(PRESETS[0], PRESETS[1], 0.45).normalized()
    np.testing.assert_allclose(np.linalg.norm(sample.style_ttl, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(sample.style_ttl, expected.ttl, atol=1e-6)
    np.testing.assert_allclose(sample.style_dp, expected.dp, atol=1e-6)


@pytest.mark.parametrize("factor", [1e20, 1e37])
def test_rows_whose_squares_exceed_float32_are_scaled_as_others(generated, out, factor):
    style = mixture(PRESETS[0], PRESETS[1], 0.45)
    large = VoiceStyle(np.float32(factor) * style.ttl, np.float32(factor) * style.dp)
    write_generated(generated / "train" / "large.npz", large, 7)

    repair_data(generated, out, None)

    sample = read_sample(out / "train" / "large.npz")
    np.testing.assert_allclose(sample.style_ttl, style.normalized().ttl, atol=1e-6)
    np.testing.assert_allclose(sample.style_dp, style.normalized().dp, atol=1e-6)


def test_a_good_clip_is_copied_to_the_byte_and_a_set_of_good_ones_whole(generated, out, tmp_path):
    repair_data(generated, out, None)
    again = repair_data(out, tmp_path / "again", None)

    unit = "train/unit.npz"
    assert (out / unit).read_bytes() == (generated / unit).read_bytes()
    assert [again[split].copied for split in ("train", "val")] == [4, 4]
    for path in out.rglob("*.npz"):
        assert (tmp_path / "again" / path.relative_to(out)).read_bytes() == path.read_bytes()


def test_all_but_the_style_of_a_scaled_clip_is_as_it_was(generated, out):
    repair_data(generated, out, None)

    with (
        np.load(generated / "train" / "half.npz") as before,
        np.load(out / "train" / "half.npz") as after,
        zipfile.ZipFile(out / "train" / "half.npz") as archive,
    ):
        assert before.files == after.files
        for name in set(before.files) - {"style_ttl", "style_dp"}:
            np.testing.assert_array_equal(before[name], after[name])
        assert float(after["duration"]) == 0.1
        assert after["style_ttl"].shape == (1, 50, 256)
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}


def test_a_file_that_is_damaged_otherwise_is_left_out_with_its_reason(generated, out):
    (generated / "val" / "junk.npz").write_bytes(b"junk")
    style = mixture(PRESETS[4], PRESETS[5])
    write_generated(generated / "val" / "nan.npz", style, audio=np.full(99, np.nan, np.float32))

    repairs = repair_data(generated, out, None)

    junk, silent = repairs["val"].unreadable
    assert junk.startswith(f"{generated}/val/junk.npz: not a readable npz file")
    assert silent.startswith(f"{generated}/val/nan.npz: audio has 99 NaN")
    assert names_of(out / "val") == ["half", "near", "nearer", "unit"]


# --- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def few_good(tmp_path):
    """A set with one good style, and one that needs scaling."""
    folder = tmp_path / "few"
    for split in ("train", "val"):
        write_generated(folder / split / "good.npz", PRESETS[0])
        write_generated(folder / split / "half.npz", mixture(PRESETS[1], PRESETS[2]))
    return folder


def test_too_few_good_styles_to_measure_by_are_refused(few_good, out):
    message = (
        r"few: 1 different style of norm 1 cannot tell which of 2 others are voices; name presets "
        r"of the same version, 3 or more, with --presets DIR$"
    )
    with pytest.raises(DataError, match=message):
        repair_data(few_good, out, None)
    assert not out.exists()


def test_presets_are_measured_by_where_good_styles_are_few(few_good, out, tmp_path):
    repairs = repair_data(few_good, out, add_presets(tmp_path / "presets"))

    assert (repairs["train"].copied, repairs["train"].scaled) == (1, 1)


def test_presets_of_another_version_are_refused(few_good, out, tmp_path):
    with pytest.raises(DataError, match=r"good\.npz and .*M0\.json are of different Supertonic ve"):
        repair_data(few_good, out, add_presets(tmp_path / "presets", version=1))


def test_a_split_of_which_nothing_would_be_left_is_refused(generated, out):
    for name in ("near", "nearer", "unit", "half"):
        (generated / "val" / f"{name}.npz").unlink()

    message = (
        r"generated/val: nothing would be left of 2 clips, the first being .*noisy\.npz: "
        r"style_ttl is 0\.8\d from .*; generate it again$"
    )
    with pytest.raises(DataError, match=message):
        repair_data(generated, out, None)
    assert not out.exists()


def test_a_folder_that_is_no_data_set_is_refused(tmp_path, out):
    with pytest.raises(DataError, match=r"none: no such folder; it must hold train/ and val/"):
        repair_data(tmp_path / "none", out, None)


def test_the_folder_itself_is_no_place_for_the_repaired_set(generated):
    with pytest.raises(ConfigError, match=r"generated: exists and is not empty; remove it or na"):
        repair_data(generated, generated, None)


def claim_too_much(path):
    """Let the directory claim a duration of 3 GB."""
    content = bytearray(path.read_bytes())
    place = content.rfind(b"duration.npy") - 22  # where the size stands in the zip's directory
    content[place : place + 4] = (3 * 10**9).to_bytes(4, "little")
    path.write_bytes(content)


def damage_extra(path):
    content = bytearray(path.read_bytes())
    place = content.find(b"duration.npy") + 60
    content[place : place + 20] = bytes(20)
    path.write_bytes(content)


def compress_oddly(path):
    """Compress as numpy never does, by which a few kilobytes may become gigabytes at once."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            kind = zipfile.ZIP_LZMA if name == "duration.npy" else zipfile.ZIP_STORED
            new.writestr(name, content, kind)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (compress_oddly, r"half\.npz: duration.npy is compressed as numpy never does; save it wi"),
        (claim_too_much, r"half\.npz: duration claims 3000 MB; the limit is 537 MB"),
        (damage_extra, r"half\.npz: not a readable npz file \(.*\); make it again"),
    ],
)
def test_damage_of_an_array_that_no_sample_needs_is_found_by_copying(
    generated, out, damage, message
):
    damage(generated / "train" / "half.npz")

    repairs = repair_data(generated, out, None)

    (reason,) = repairs["train"].unreadable
    assert re.search(message, reason)
    assert names_of(out / "train") == ["near", "nearer", "unit"]


# --- as a person runs it -------------------------------------------------------------------------


def test_what_was_repaired_is_said_in_a_table(generated, out, run):
    (generated / "val" / "junk.npz").write_bytes(b"junk")

    code, told, _ = run("repair", generated, "--out", out)

    assert code == 0
    assert told[:4] == [
        "split  copied  scaled to norm 1  no voice  unreadable",
        "train       1                 3         2           0",
        "val         1                 3         2           1",
        "test        0                 0         0           0",
    ]
    assert [line.rpartition("; ")[2] for line in told if "noisy.npz" in line] == [
        "and 1 other like it"
    ] * 2
    assert sum(line.startswith(f"left out: {generated}/val/junk.npz: not a") for line in told) == 1
    assert told[-1] == f"wrote 8 clips to {out}, left out 5"


def test_the_check_names_the_command_that_repairs(generated, run):
    (generated / "val" / "junk.npz").write_bytes(b"junk")

    code, _, errors = run("check", generated)

    assert code == DATA
    assert errors == [
        f"tune-encoder: {generated}: 7 errors; fix or remove the files; for the 6 styles of "
        f"another norm than 1: `tune-encoder data repair {generated} --out NEW`"
    ]


def test_a_check_without_such_styles_names_no_repair(tmp_path, run):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        write_sample(tmp_path / split / "a.npz", make_sample())
    (tmp_path / "val" / "b.npz").write_bytes(b"junk")

    assert "repair" not in run("check", tmp_path)[2][0]


def test_what_stops_a_search_names_the_command_too(generated):
    with pytest.raises(DataError, match=r"; for the 6 styles of another norm .* --out NEW`$"):
        check_data(generated, GENERATOR_RATE).raise_errors(generated)


def test_the_command_named_can_be_pasted_for_a_folder_with_a_space(tmp_path, run):
    style = VoiceStyle(2 * PRESETS[0].ttl, PRESETS[0].dp)
    for split in ("train", "val"):
        write_generated(tmp_path / "my voices" / split / "a.npz", style)

    (error,) = run("check", tmp_path / "my voices")[2]

    assert error.endswith(f"tune-encoder data repair '{tmp_path}/my voices' --out NEW`")
