"""Rooms: the impulse response from a mouth to a microphone, simulated by the image method.

A box reflects sound at its six walls. Each reflection is a source beyond the wall, an image, whose
sound is weaker by the walls between and by the way. Each wall turns the sign too: images of one
sign would add up to a rumble that decays half as fast.

Source: J. Allen, D. Berkley: Image method for efficiently simulating small-room acoustics, Journal
of the Acoustical Society of America 65 (4), 1979, equation 10.

Shapes: T audio samples, L samples of an impulse response, I images along an axis.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from tune_encoder.data.audio import resample

SPEED_OF_SOUND = 343.0  # m/s, at 20 degrees Celsius
EYRING = 0.161  # s/m; 24 ln 10 over the speed of sound
FINER = 4  # times the sample rate, at which images are placed: no delay is off by more than 1/8
SIZES_M = ((3.0, 2.5, 2.3), (9.0, 7.0, 3.5))  # from a small office to a lecture room
DECAY_S = (0.15, 0.6)
DISTANCE_M = (0.3, 3.0)
WALL_M = 0.3  # nobody stands nearer to a wall

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Room:
    """A box with a source and a microphone."""

    size_m: Doubles
    """(3,)"""
    source_m: Doubles
    """(3,) from a corner."""
    microphone_m: Doubles
    decay_s: float
    """Seconds until a sound has fallen by 60 dB, by Eyring's formula; simulated up to 1.3 times."""

    @property
    def reflection(self) -> float:
        """The pressure that a wall returns, relative to what comes."""
        x, y, z = self.size_m
        surface = 2 * (x * y + y * z + z * x)
        return -float(np.exp(-EYRING * x * y * z / (2 * surface * self.decay_s)))


def random_room(rng: np.random.Generator) -> Room:
    """Draw a room, where a person is in it, and how near the microphone is."""
    size = rng.uniform(*SIZES_M)
    low, high = np.full(3, WALL_M), size - WALL_M
    source = rng.uniform(low, high)
    direction = rng.standard_normal(3)
    distance = rng.uniform(*DISTANCE_M)
    microphone = np.clip(source + distance * direction / np.linalg.norm(direction), low, high)
    return Room(size, source, microphone, float(rng.uniform(*DECAY_S)))


def impulse_response(room: Room, sample_rate: int) -> Array:
    """Return the impulse response (L,) of a room until it has decayed by 60 dB.

    It begins with the direct sound, and its energy is 1.
    """
    direct_m = float(np.linalg.norm(room.source_m - room.microphone_m))
    rate = FINER * sample_rate
    reach_m = direct_m + SPEED_OF_SOUND * room.decay_s
    (x, bounces_x), (y, bounces_y), (z, bounces_z) = (
        _images(*axis, reach_m)
        for axis in zip(room.size_m, room.source_m, room.microphone_m, strict=True)
    )
    response = np.zeros(round(room.decay_s * rate) + 1)
    beside = np.add.outer(y**2, z**2)  # images of one x at a time: all would not fit into memory
    weights = room.reflection ** np.add.outer(bounces_y, bounces_z)
    for along, bounces in zip(x, bounces_x, strict=True):
        away_m = np.sqrt(along**2 + beside)
        delays = np.rint((away_m - direct_m) * (rate / SPEED_OF_SOUND)).astype(np.int64)
        heard = (delays >= 0) & (delays < len(response))
        pressure = room.reflection**bounces * weights[heard] / np.maximum(away_m[heard], 0.01)
        response += np.bincount(delays[heard], pressure, minlength=len(response))
    return unit_energy(resample(response.astype(np.float32), rate, sample_rate))


def _images(
    size_m: float, source_m: float, microphone_m: float, reach_m: float
) -> tuple[Doubles, NDArray[np.int64]]:
    """Where the images lie along an axis (I,), seen from the microphone, behind how many walls."""
    count = int(reach_m // (2 * size_m)) + 1
    n = np.arange(-count, count + 1)
    places = np.concatenate([2 * n * size_m + source_m, 2 * n * size_m - source_m]) - microphone_m
    bounces = np.concatenate([2 * np.abs(n), np.abs(n) + np.abs(n - 1)])
    near = np.abs(places) <= reach_m
    return places[near], bounces[near]


def unit_energy(response: Array) -> Array:
    """Scale an impulse response so that what it is applied to keeps about its level."""
    return np.asarray(response / np.sqrt(np.square(response, dtype=np.float64).sum()), np.float32)


def reverberate(audio: Array, response: Array) -> Array:
    """Return audio (T,) as heard through an impulse response (L,), of the same length."""
    return np.asarray(fftconvolve(audio, response)[: audio.size], dtype=np.float32)
