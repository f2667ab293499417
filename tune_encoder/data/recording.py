"""Recordings unlike those of train, from which an encoder must know a demo voice all the same.

Text, tempo, room, noise and level are drawn for each recording, from ranges that the recordings
of train do not have: there every vowel is as likely, the tempo is the voice's, the room is dead,
the noise is white and at least 30 dB below the voice, and the level varies by 1.5 dB.

Shapes: T samples.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.synthesis import (
    ANY_TEXT,
    DEMO_SAMPLE_RATE,
    Text,
    Voice,
    db_to_gain,
    rms,
    set_level,
    synthesize,
)

Array = NDArray[np.float32]

_N_VOWELS = 6  # of a text, drawn from all
_PAUSES = (0.05, 0.3)  # probability
_TEMPO_SPREAD = 0.06  # standard deviation of the log; between voices it is 0.3
_REVERBERATION_S = (0.1, 0.35)  # until a sound has fallen by 60 dB
_DIRECT_DB = (6.0, 15.0)  # the direct sound against the reverberant one
_SNR_DB = (15.0, 35.0)
_NOISE_TILT_DB = (-6.0, 0.0)  # per octave, from brown to white
_LEVEL_DB = (-30.0, -22.0)  # RMS against full scale
_LOWEST_HZ = 50.0  # below, tilted noise does not rise


def record_elsewhere(voice: Voice, rng: np.random.Generator) -> Array:
    """Synthesise a phrase of 2 to 5 seconds in a way that no recording of train has.

    Returns:
        Audio of shape (T,) at 24 kHz, -30 to -22 dBFS RMS, peak below 1.
    """
    tempo = voice.syllables_per_s * rng.lognormal(0, _TEMPO_SPREAD)
    hurried = dataclasses.replace(voice, syllables_per_s=tempo)
    wave = _reverberate(synthesize(hurried, rng, _random_text(rng)), rng)
    return set_level(_add_noise(wave, rng), rng.uniform(*_LEVEL_DB))


def _random_text(rng: np.random.Generator) -> Text:
    return Text(rng.choice(ANY_TEXT.vowels, _N_VOWELS, replace=False), rng.uniform(*_PAUSES))


def _reverberate(wave: Array, rng: np.random.Generator) -> Array:
    """Add the sound of a room: exponentially decaying noise after every sample."""
    decay_s, direct_db = rng.uniform(*_REVERBERATION_S), rng.uniform(*_DIRECT_DB)
    T = round(decay_s * DEMO_SAMPLE_RATE)
    tail = rng.standard_normal(T) * 10 ** (-3 * np.arange(T) / T)
    tail *= db_to_gain(-direct_db) / np.sqrt(np.square(tail).sum())
    n_fft = _fft_length(len(wave) + T)  # so that the end does not return at the beginning
    spectrum = np.fft.rfft(wave, n_fft) * (1 + np.fft.rfft(tail, n_fft))
    return np.asarray(np.fft.irfft(spectrum, n_fft)[: len(wave)], dtype=np.float32)


def _add_noise(wave: Array, rng: np.random.Generator) -> Array:
    """Add stationary noise with a random tilt."""
    tilt_db, snr_db = rng.uniform(*_NOISE_TILT_DB), rng.uniform(*_SNR_DB)
    n_fft = _fft_length(len(wave))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(n_fft, 1 / DEMO_SAMPLE_RATE) / _LOWEST_HZ, 1))
    spectrum = np.fft.rfft(rng.standard_normal(n_fft)) * 10 ** (tilt_db * octaves / 20)
    noise = np.fft.irfft(spectrum)[: len(wave)].astype(np.float32)
    return wave + noise * (rms(wave) / rms(noise)) * db_to_gain(-snr_db)


def _fft_length(T: int) -> int:
    """Return the next power of two: at a large prime a transform takes ten times as long."""
    return 1 << (T - 1).bit_length()
