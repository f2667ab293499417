"""A small source-filter synthesiser of speech: what the recordings of demo voices are made with.

A latent vector of 10 standard normal numbers defines a voice. The phrase, the room's noise and the
microphone are random for each clip and independent of the voice.

Shapes: T samples, N frames, B frequency bins.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

DEMO_SAMPLE_RATE = 24000  # Hz
LATENT_SIZE = 10

# --- the voice ---------------------------------------------------------------------------------

_LATENT_LIMIT = 2.5  # standard deviations


@dataclass(frozen=True, kw_only=True)
class Voice:
    """The acoustic parameters of a speaker."""

    pitch_hz: float  # base of the pitch contour
    tract_scale: float  # factor on all formants; a short vocal tract has a large one
    syllables_per_s: float
    tilt_db: float  # fall of the glottal spectrum per octave
    breath_db: float  # breath noise against the glottal pulses
    accent_semitones: float  # how far from its base the pitch moves
    upper_formant_scale: float  # factor on the third and fourth formant alone
    bandwidth_scale: float  # factor on the formant bandwidths
    vowel_space: float  # factor on the log distance of vowels from the neutral one
    jitter: float  # standard deviation of a pulse's instant, in periods


def voice_of(latent: Doubles) -> Voice:
    """Return the voice of a latent vector (10,), one number for each parameter.

    Centres and scales are about those of adult speakers; the soft limit keeps outliers human.
    """
    soft = _LATENT_LIMIT * np.tanh(latent / _LATENT_LIMIT)
    return Voice(
        pitch_hz=150 * 2 ** (0.42 * soft[0]),
        tract_scale=np.exp(0.09 * soft[1]),
        syllables_per_s=4.5 * np.exp(0.3 * soft[2]),
        tilt_db=7.0 + 1.6 * soft[3],
        breath_db=-24.0 + 6.0 * soft[4],
        accent_semitones=2.5 * np.exp(0.5 * soft[5]),
        upper_formant_scale=np.exp(0.07 * soft[6]),
        bandwidth_scale=np.exp(0.4 * soft[7]),
        vowel_space=np.exp(0.25 * soft[8]),
        jitter=0.02 * np.exp(0.8 * soft[9]),
    )


# --- the sound ---------------------------------------------------------------------------------

# Formants in Hz of ten vowels spoken by men, one vowel a column. F1 to F3: Peterson and Barney,
# "Control methods used in a study of the vowels", JASA 24 (1952), table II. F4 is the tube's.
_VOWELS = np.array(
    [
        (270, 390, 530, 660, 730, 570, 440, 300, 640, 490),
        (2290, 1990, 1840, 1720, 1090, 840, 1020, 870, 1190, 1350),
        (3010, 2550, 2480, 2410, 2440, 2410, 2240, 2240, 2390, 1690),
        (3500, 3500, 3500, 3500, 3500, 3500, 3500, 3500, 3500, 3500),
    ]
).T
_NEUTRAL_VOWEL = np.array((500, 1500, 2500, 3500))  # a uniform tube of 17.5 cm
_BANDWIDTHS_HZ = np.array((70, 100, 150, 220))  # losses grow with frequency, ...
_FORMANT_GAINS = np.array((1.0, 0.8, 0.6, 0.5))  # ... so higher resonances are weaker

_HOP = 256  # samples; 10.7 ms, short enough to sound smooth
_N_FFT = 4 * _HOP  # half for the window, a quarter on each side for the ringing of formants
# Hann at half overlap adds up to 1.
_WINDOW = np.pad(np.hanning(2 * _HOP + 1)[:-1], _HOP).astype(np.float32)
_BINS_HZ = np.fft.rfftfreq(_N_FFT, 1 / DEMO_SAMPLE_RATE).astype(np.float32)
_TILT_KNEE_HZ = 150.0  # the glottal spectrum is flat below
_DB_PER_OCTAVE = 20 * np.log10(2)  # of an amplitude proportional to frequency

MIN_DURATION_S, MAX_DURATION_S = 2.0, 5.0
_PAUSE_LEVEL = 0.003  # not zero: breath continues
_SYLLABLE_SPREAD = 0.2  # standard deviation of log duration
_SHIMMER = 0.08  # relative standard deviation of a pulse's height
_LEVEL_DB, _LEVEL_SPREAD_DB = -26.0, 1.5  # RMS against full scale
_MAX_PEAK = 0.98
_CHANNEL_TILT_DB = 1.0  # per octave, standard deviation between microphones
_FLOOR_DB = (-50.0, -30.0)  # noise of the room against the voice


class Text(NamedTuple):
    """What a phrase is made of."""

    vowels: NDArray[np.int64]
    """Rows of the table of vowels, all equally likely."""
    pause_probability: float
    """Of each syllable."""


ANY_TEXT = Text(np.arange(len(_VOWELS)), pause_probability=0.15)


def synthesize(voice: Voice, rng: np.random.Generator, text: Text = ANY_TEXT) -> Array:
    """Synthesise a random phrase of 2 to 5 seconds.

    Returns:
        Audio of shape (T,) at 24 kHz, about -26 dBFS RMS, peak below 1.
    """
    T = int(rng.uniform(MIN_DURATION_S, MAX_DURATION_S) * DEMO_SAMPLE_RATE)
    phrase = _random_phrase(voice, T // _HOP + 1, rng, text)
    spectra = _frame_spectra(_pulse_train(voice, phrase.pitch_hz, T, rng))
    spectra *= _slope(-voice.tilt_db)
    spectra += _frame_spectra(
        db_to_gain(voice.breath_db) * rng.standard_normal(T, dtype=np.float32)
    )
    spectra *= _formant_envelope(voice, phrase.formants_hz)
    spectra *= phrase.loudness[:, None] * _slope(rng.normal(0, _CHANNEL_TILT_DB))
    return _add_room_noise(_overlap_add(spectra)[:T], rng)


class _Phrase(NamedTuple):
    """Pitch, formants and loudness of a phrase, frame by frame."""

    pitch_hz: Doubles  # (N,)
    formants_hz: Doubles  # (N, 4)
    loudness: Array  # (N,), 1 in the middle of a syllable


def _random_phrase(voice: Voice, N: int, rng: np.random.Generator, text: Text) -> _Phrase:
    frames_per_syllable = DEMO_SAMPLE_RATE / _HOP / voice.syllables_per_s
    n_syllables = 2 + int(2 * N / frames_per_syllable)  # twice what is needed, for short ones
    lengths = frames_per_syllable * rng.lognormal(0, _SYLLABLE_SPREAD, n_syllables)
    ends = np.cumsum(lengths)
    middles = ends - lengths / 2
    frames = np.arange(N)
    spoken = rng.random(n_syllables) > text.pause_probability
    spoken[0] = True  # a clip of only pauses would have no voice
    syllable = np.searchsorted(ends, frames, side="right")
    envelope = np.sin(np.pi * (ends[syllable] - frames) / lengths[syllable])
    accents = np.interp(frames, middles, rng.uniform(-1, 1, n_syllables))
    declination = np.linspace(0.5, -0.5, N)  # speech ends lower than it starts
    chosen = text.vowels[rng.integers(len(text.vowels), size=n_syllables)]
    vowels = np.log(_VOWELS[chosen] / _NEUTRAL_VOWEL)
    formants = [np.interp(frames, middles, vowel) for vowel in vowels.T * voice.vowel_space]
    return _Phrase(
        pitch_hz=voice.pitch_hz * 2 ** (voice.accent_semitones * (accents + declination) / 12),
        formants_hz=_NEUTRAL_VOWEL * np.exp(np.stack(formants, axis=1)),
        loudness=(_PAUSE_LEVEL + envelope * spoken[syllable]).astype(np.float32),
    )


def _pulse_train(voice: Voice, pitch_hz: Doubles, T: int, rng: np.random.Generator) -> Array:
    """Pulses of unit power at the pitch (N,), each between two samples; shape (T,)."""
    samples = np.arange(T)
    pitch = np.interp(samples, np.arange(len(pitch_hz)) * _HOP, pitch_hz)
    cycles = np.cumsum(pitch) / DEMO_SAMPLE_RATE
    n_pulses = int(cycles[-1])
    periods = DEMO_SAMPLE_RATE / np.interp(np.arange(n_pulses), cycles, pitch)
    instants = np.interp(np.arange(n_pulses), cycles, samples)
    instants += voice.jitter * periods * rng.standard_normal(n_pulses)
    instants = np.clip(instants, 0, T - 2)
    heights = np.sqrt(periods) * (1 + _SHIMMER * rng.standard_normal(n_pulses))
    before = instants.astype(np.int64)
    late = instants - before
    train = np.bincount(before, heights * (1 - late), T)
    train += np.bincount(before + 1, heights * late, T)
    return train.astype(np.float32)


def _formant_envelope(voice: Voice, formants_hz: Doubles) -> Array:
    """Magnitude (N, B) of the vocal tract: four resonances (N, 4) in parallel."""
    scale = np.array((1.0, 1.0, voice.upper_formant_scale, voice.upper_formant_scale))
    centres = (formants_hz * scale * voice.tract_scale).astype(np.float32)
    halves = (_BANDWIDTHS_HZ * voice.bandwidth_scale / 2).astype(np.float32)
    envelope = np.zeros((len(centres), len(_BINS_HZ)), np.float32)
    for centre, half, gain in zip(centres.T, halves, _FORMANT_GAINS, strict=True):
        detuning = (_BINS_HZ - centre[:, None]) / half
        envelope += np.float32(gain) / np.sqrt(1 + detuning * detuning)
    return envelope


def _slope(db_per_octave: float) -> Array:
    """Magnitude (B,), 1 at low frequencies, then changing by this many dB per octave."""
    power = db_per_octave / _DB_PER_OCTAVE / 2
    return np.asarray((1 + (_BINS_HZ / _TILT_KNEE_HZ) ** 2) ** power, dtype=np.float32)


def _frame_spectra(wave: Array) -> NDArray[np.complex64]:
    """Spectra (N, B) of Hann windows around each multiple of the hop."""
    margin = np.zeros(_N_FFT // 2, np.float32)
    padded = np.concatenate([margin, wave, margin])
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP]
    return np.asarray(np.fft.rfft(frames * _WINDOW), dtype=np.complex64)


def _overlap_add(spectra: NDArray[np.complex64]) -> Array:
    """Invert `_frame_spectra`; shape (N * hop,)."""
    frames = np.fft.irfft(spectra).reshape(len(spectra), -1, _HOP)
    N, parts, _ = frames.shape
    hops = np.zeros((N + parts, _HOP), np.float32)
    for part in range(parts):
        hops[part : part + N] += frames[:, part]
    return hops[parts // 2 :].reshape(-1)


def _add_room_noise(voice_wave: Array, rng: np.random.Generator) -> Array:
    """Add room noise and set the level."""
    noise = rng.standard_normal(len(voice_wave), dtype=np.float32)
    wave = voice_wave + noise * rms(voice_wave) * db_to_gain(rng.uniform(*_FLOOR_DB))
    return set_level(wave, rng.normal(_LEVEL_DB, _LEVEL_SPREAD_DB))


def set_level(wave: Array, level_db: float) -> Array:
    """Scale a wave (T,) to an RMS in dBFS, or less if its peak would reach full scale."""
    level = db_to_gain(level_db) / rms(wave)
    return np.asarray(wave * min(level, _MAX_PEAK / np.abs(wave).max()), dtype=np.float32)


def db_to_gain(level_db: float) -> np.float32:
    """Return the factor on an amplitude that raises it by so many decibels."""
    return np.float32(10 ** (level_db / 20))


def rms(wave: Array) -> np.float32:
    """Return the root mean square of a wave (T,)."""
    return np.float32(np.sqrt(np.mean(np.square(wave))))
