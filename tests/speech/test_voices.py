"""The voices: presets, own styles, and mixtures that lie as widely as asked."""

import numpy as np
import pytest

from tests.speech.conftest import small
from tests.speech.stand_in import PRESETS, preset_styles
from tune_encoder.data.voice_style import write_voice_style
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.speech.voices import Cast, make_cast


def cast(held_out=(), own=None, **changes):
    return Cast(small(**changes), preset_styles(), own or {}, held_out)


def mixed(**changes):
    """The styles of 200 mixed voices, (200, 12800)."""
    made = cast(voices=210, **changes)
    return np.array([made.voice(number).style.ttl.ravel() for number in range(10, 210)])


def variance(styles):
    return np.square(styles - styles.mean(axis=0)).mean()


def test_the_presets_come_first_and_are_left_as_they_are():
    made = cast()

    assert made.names[:10] == [*PRESETS]
    np.testing.assert_array_equal(made.voice(3).style.ttl, preset_styles()["F4"].ttl)
    assert made.voice(3).origin == "preset F4"


def test_own_styles_are_voices_and_parents():
    made = cast(own={"anna": preset_styles(version=0, names=("A1",))["A1"]}, voices=31)

    assert made.names[10] == "anna"
    assert made.origin(10) == "own anna"
    assert any("anna" in made.origin(number) for number in range(11, 31))


def test_a_voice_depends_on_the_seed_and_its_number_alone():
    few, many, other = cast(), cast(voices=40), cast(seed=1)

    for part in ("ttl", "dp"):
        first = getattr(few.voice(12).style, part)
        np.testing.assert_array_equal(first, getattr(many.voice(12).style, part))
        assert not np.array_equal(first, getattr(other.voice(12).style, part))


def test_every_row_of_a_mixture_has_norm_1():
    styles = mixed().reshape(-1, 50, 256)

    np.testing.assert_allclose(np.linalg.norm(styles, axis=-1), 1, atol=1e-6)


def test_convex_voices_lie_within_the_presets_and_wide_ones_as_widely_as_asked():
    presets = variance(np.array([style.ttl.ravel() for style in preset_styles().values()]))

    assert variance(mixed(convex_share=1.0)) < 0.6 * presets
    assert variance(mixed(convex_share=0.0, spread=1.0)) == pytest.approx(presets, rel=0.15)
    assert variance(mixed(convex_share=0.0, spread=1.5)) > 1.6 * presets


def test_a_style_is_the_sum_that_its_origin_names():
    made, styles = cast(voices=14, convex_share=1.0, apart_share=0.0), preset_styles()
    terms = made.origin(13).removeprefix("convex: ").split()
    total = sum(float(w) * styles[name].dp for w, name in zip(*[iter(terms)] * 2, strict=True))

    expected = total / np.linalg.norm(total, axis=-1, keepdims=True)
    np.testing.assert_allclose(made.voice(13).style.dp, expected, atol=2e-3)


def test_rhythm_is_drawn_apart_for_the_share_that_is_asked():
    apart, together = cast(apart_share=1.0), cast(apart_share=0.0)

    assert "; rhythm: " in apart.origin(12)
    assert "rhythm" not in together.origin(12)
    np.testing.assert_array_equal(apart.voice(12).style.ttl, together.voice(12).style.ttl)
    assert not np.array_equal(apart.voice(12).style.dp, together.voice(12).style.dp)


def test_nothing_is_mixed_of_what_is_held_out():
    made = cast(held_out=["M1", "F3"], voices=60)

    assert {"M1", "F3"} < set(made.names)
    for number in range(10, 60):
        assert not {"M1", "F3"} & set(made.origin(number).split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": ["M9"]}, r"--hold-out M9: no style has this name; there are F1, F2.*M5$"),
        ({"voices": 7}, r"voices is 7, but there are 10 styles, and each is a voice; set it to 10"),
        ({"held_out": PRESETS[:9]}, r"1 style cannot be mixed or split; hold out fewer, or add"),
        ({"held_out": PRESETS[:9], "voices": 10}, r"1 style cannot be mixed or split"),
    ],
)
def test_a_cast_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        cast(**changes)


# --- reading --------------------------------------------------------------------------------------


def write_styles(folder, styles):
    folder.mkdir()
    for name, style in styles.items():
        write_voice_style(folder / f"{name}.json", style, {})
    return folder


def read(models, presets=None, own=None):
    return make_cast(small(voices=30), models / "voice_styles", presets, own, [])


def test_the_presets_are_those_of_the_model_if_no_others_are_named(models, tmp_path):
    others = write_styles(tmp_path / "others", preset_styles(names=("F1", "M1")))

    assert [*read(models).presets] == [*PRESETS]
    assert [*read(models, presets=others).presets] == ["F1", "M1"]


@pytest.mark.parametrize("kind", ["presets", "own"])
def test_a_style_of_another_version_is_refused(kind, models, tmp_path):
    other = write_styles(tmp_path / "other", {"anna": preset_styles(version=2)["F1"]})

    with pytest.raises(DataError, match=r"anna\.json and .*F1\.json are of different Supertonic"):
        read(models, **{kind: other})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("F1", r"own/F1\.json: has the name of .*voice_styles/F1\.json; rename it"),
        ("mixed_00001", r"own/mixed_00001\.json: has the name of a mixed voice; rename it"),
    ],
)
def test_two_voices_of_one_name_are_refused(name, message, models, tmp_path):
    own = write_styles(tmp_path / "own", {name: preset_styles()["F2"]})

    with pytest.raises(DataError, match=message):
        read(models, own=own)


def test_a_folder_without_styles_is_refused(models, tmp_path):
    with pytest.raises(DataError, match=r"has no style JSON; name a folder of styles, such"):
        read(models, own=tmp_path)
