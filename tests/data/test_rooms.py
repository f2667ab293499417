import numpy as np
import pytest

from tune_encoder.data.rooms import (
    SPEED_OF_SOUND,
    Room,
    impulse_response,
    random_room,
    reverberate,
)

RATE = 24000


def room(decay_s=0.4, source=(1.0, 1.2, 1.5), microphone=(3.0, 2.0, 1.4)):
    return Room(np.array([5.0, 4.0, 3.0]), np.array(source), np.array(microphone), decay_s)


def measured_decay_s(response):
    """Schroeder's backward integral, from -5 to -25 dB, times three."""
    energy = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    db = 10 * np.log10(energy / energy[0])
    return 3 * float(np.argmax(db < -25) - np.argmax(db < -5)) / RATE


@pytest.mark.parametrize("decay_s", [0.2, 0.4, 0.6])
def test_a_room_decays_as_long_as_it_says(decay_s):
    measured = measured_decay_s(impulse_response(room(decay_s), RATE))

    assert decay_s * 0.8 < measured < decay_s * 1.35


def test_a_response_begins_with_the_direct_sound_and_then_the_floor():
    """The first reflection of a speaker over the floor comes by the way it is longer."""
    where = room(source=(2.0, 2.0, 0.5), microphone=(3.0, 2.0, 0.5))

    response = impulse_response(where, RATE)

    reflected = round((np.hypot(1, 1) - 1) / SPEED_OF_SOUND * RATE)
    assert np.abs(response).argmax() == 0
    early = np.abs(response[5 : reflected + 20])
    assert early.argmax() + 5 == pytest.approx(reflected, abs=1)
    ratio = abs(response[reflected - 1 : reflected + 2]).max() / abs(response[0])
    assert ratio == pytest.approx(abs(where.reflection) / np.hypot(1, 1), rel=0.25)


def test_a_response_has_unit_energy_and_no_rumble():
    response = impulse_response(room(), RATE).astype(np.float64)

    spectrum = np.square(np.abs(np.fft.rfft(response, RATE)))
    assert np.square(response).sum() == pytest.approx(1, rel=1e-4)
    assert spectrum[:50].mean() < 3 * spectrum[500:].mean()


def test_equal_draws_make_equal_rooms_whose_people_are_inside():
    first, again, other = (random_room(np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert np.array_equal(impulse_response(first, RATE), impulse_response(again, RATE))
    assert first.decay_s != other.decay_s
    for place in (first.source_m, first.microphone_m):
        assert ((place > 0) & (place < first.size_m)).all()


def test_reverberation_keeps_the_length_and_sounds_after_the_end():
    audio = np.zeros(RATE, dtype=np.float32)
    audio[: RATE // 10] = np.random.default_rng(0).normal(size=RATE // 10)

    wet = reverberate(audio, impulse_response(room(0.6), RATE))

    assert wet.shape == audio.shape
    assert wet.dtype == np.float32
    tail = wet[RATE // 5 : RATE // 2]
    assert np.square(tail).mean() > 1e-4 * np.square(audio).mean()
