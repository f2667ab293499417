from pathlib import Path

import numpy as np
import pytest

from tests.data.generated import make_preset, mixture, noise_style, perturbed
from tune_encoder.data.style_span import StyleSpan
from tune_encoder.data.voice_bank import read_styles
from tune_encoder.data.voice_style import VoiceStyle

REAL = Path(__file__).parents[3] / "shared" / "real" / "styles"


@pytest.fixture(params=["made", "real"])
def presets(request):
    if request.param == "made":
        return [make_preset(seed) for seed in range(10)]
    if not REAL.is_dir():
        pytest.skip(f"no real styles in {REAL}")
    return [*read_styles(REAL).values()]


def scaled(style, factor):
    return VoiceStyle(factor * style.ttl, factor * style.dp)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.5])
def test_a_mixture_of_two_voices_is_one_though_neither_is_known(presets, share):
    span = StyleSpan.of(presets[:8])

    assert span.problem(mixture(presets[8], presets[9], share)) is None


def test_a_mixture_is_a_voice_by_the_span_of_three(presets):
    assert StyleSpan.of(presets[:3]).problem(mixture(presets[5], presets[6])) is None


@pytest.mark.parametrize("factor", [0.2, 3])
def test_the_norm_of_rows_says_nothing(presets, factor):
    rng = np.random.default_rng(0)
    span = StyleSpan.of(presets)

    assert span.problem(scaled(presets[1], factor)) is None
    assert "from the span of 10 styles" in str(span.problem(scaled(noise_style(rng), factor)))


@pytest.mark.parametrize("n_known", [3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_a_voice_with_noise_is_none(presets, n_known, seed):
    rng = np.random.default_rng(seed)
    problem = str(StyleSpan.of(presets[:n_known]).problem(perturbed(presets[seed], rng)))

    assert problem.startswith("style_ttl is 0.8")
    assert problem.endswith(f"from the span of {n_known} styles; a voice is at most 0.5 from it")


def test_noise_is_found_by_the_span_of_many_noisy_voices(presets):
    rng = np.random.default_rng(0)
    known = [perturbed(presets[n % 10], rng, 0.02).normalized() for n in range(400)]
    span = StyleSpan.of(known)

    assert span.problem(mixture(presets[0], presets[1])) is None
    assert span.problem(perturbed(presets[0], rng)) is not None


def test_rhythm_of_noise_is_found_where_timbre_is_good(presets):
    style = VoiceStyle(presets[0].ttl, noise_style(np.random.default_rng(0)).dp)

    assert str(StyleSpan.of(presets[:6]).problem(style)).startswith("style_dp is 0.")


def test_a_row_of_zeros_points_nowhere(presets):
    style = VoiceStyle(presets[0].ttl.copy(), presets[0].dp)
    style.ttl[3] = 0

    assert str(StyleSpan.of(presets).problem(style)).startswith("style_ttl is 1.00 from the span")


def test_styles_of_another_version_are_no_voices(presets):
    assert StyleSpan.of(presets).problem(make_preset(0, version=3)) is not None
