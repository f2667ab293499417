"""Copies: further versions of a training clip, as if it had been recorded worse.

A copy is the clip in a room, beside noise, and through a codec, each with a probability; on
features none of these can be done. What is drawn for a copy depends on the seed, the clip's own
samples and the number of the copy, so it is the same whatever other clips there are and however
many threads make them.

Shapes: T audio samples, F frames, M mel bands.
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tune_encoder.config import CopySettings
from tune_encoder.data.audio import is_silent, level_dbfs, resample
from tune_encoder.data.audio_file import check_sample_rate, read_recording, readable_suffixes
from tune_encoder.data.checking import read_ahead
from tune_encoder.data.codecs import random_codec
from tune_encoder.data.rooms import impulse_response, random_room, reverberate, unit_energy
from tune_encoder.data.samples import find_samples, read_sample
from tune_encoder.errors import DataError
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.workers import usable_cores

N_ROOMS = 64  # simulated for a pack; a clip is in one of them
NOISE_PLACES = 8  # of a file that are tried: recorded noise has pauses
MAX_RESPONSE_S = 2.0  # of a file; what comes later is noise
_N_THREADS = max(4, usable_cores())

Array = NDArray[np.float32]
Features = Callable[[Array], NDArray[np.float16]]
"""Computes the features (F, M) of audio (T,) at the sample rate of the front end."""


@dataclass(frozen=True)
class CopyMaker:
    """Makes copies of clips."""

    settings: CopySettings
    sample_rate: int
    """In Hz, of the clips."""
    rooms: list[Array] | list[Path]
    """Impulse responses, or their files."""
    noises: list[Path]
    """Files of noise."""

    def copy(self, audio: Array, number: int) -> Array:
        """Return a copy of audio (T,), of the same length and level.

        Args:
            audio: The clip, at the sample rate of the maker.
            number: Of the copy, from 0.

        Raises:
            DataError: if a file cannot be used.
        """
        if not audio.size or is_silent(audio):
            return audio
        rng = np.random.default_rng([self.settings.copy_seed, zlib.crc32(audio.tobytes()), number])
        # All are drawn, so that whether there is a room does not decide which noise there is.
        in_room, beside_noise, coded = rng.random(3) < (
            self.settings.copy_room_prob,
            self.settings.copy_noise_prob if self.noises else 0.0,
            self.settings.copy_codec_prob,
        )
        of_room, of_noise, of_codec = rng.spawn(3)
        made = audio
        if in_room:
            made = reverberate(made, self._response(of_room))
        if beside_noise:
            made = self._add_noise(made, of_noise)
        if coded:
            made = random_codec(made, self.sample_rate, of_codec)
        gain_db = level_dbfs(audio, self.sample_rate) - level_dbfs(made, self.sample_rate)
        return np.asarray(made * 10 ** (gain_db / 20), dtype=np.float32)

    def _response(self, rng: np.random.Generator) -> Array:
        room = self.rooms[rng.integers(len(self.rooms))]
        return read_response(room, self.sample_rate) if isinstance(room, Path) else room

    def _add_noise(self, audio: Array, rng: np.random.Generator) -> Array:
        path = self.noises[rng.integers(len(self.noises))]
        noise = read_noise(path, audio.size, self.sample_rate, rng)
        low, high = self.settings.copy_noise_snr_min, self.settings.copy_noise_snr_max
        return add_noise(audio, noise, rng.uniform(low, high), self.sample_rate)


def copy_maker(settings: CopySettings, sample_rate: int) -> CopyMaker:
    """Find the rooms and the noise, or simulate the rooms.

    Raises:
        DataError: naming a folder that has none.
    """
    rooms: list[Array] | list[Path] = []
    if settings.copy_rooms_dir:
        rooms = find_sounds("copy_rooms_dir", settings.copy_rooms_dir)
    elif settings.copy_room_prob > 0:
        seeds = np.random.default_rng([settings.copy_seed, N_ROOMS]).spawn(N_ROOMS)
        with ThreadPoolExecutor(_N_THREADS) as pool:
            made = pool.map(lambda rng: impulse_response(random_room(rng), sample_rate), seeds)
            rooms = list(made)
    noises = find_sounds("copy_noise_dir", settings.copy_noise_dir)
    return CopyMaker(settings, sample_rate, rooms, noises)


def add_noise(audio: Array, noise: Array, snr_db: float, sample_rate: int) -> Array:
    """Add noise (T,) to audio (T,), so that their levels without pauses are so far apart."""
    gain_db = level_dbfs(audio, sample_rate) - level_dbfs(noise, sample_rate) - snr_db
    return np.asarray(audio + noise * 10 ** (gain_db / 20), dtype=np.float32)


# --- files ---------------------------------------------------------------------------------------


def find_sounds(name: str, folder: str) -> list[Path]:
    """Return the audio files in and below the folder of a setting; none if it is empty.

    Raises:
        DataError: naming the setting and a folder that is missing or has none.
    """
    if not folder:
        return []
    if not Path(folder).is_dir():
        raise DataError(f"{name} is {folder}: no such folder; name one with audio files, or none")
    suffixes = readable_suffixes()
    found = (path for path in Path(folder).rglob("*") if path.suffix.lower() in suffixes)
    sounds = sorted(path for path in found if path.name[0] != "." and path.is_file())
    if not sounds:
        raise DataError(
            f"{name} is {folder}: has no audio file in or below it; put {', '.join(suffixes)} "
            "files there, or leave the setting out"
        )
    return sounds


def sounds_fingerprint(name: str, folder: str) -> str:
    """Return a hash of the names and sizes of a folder's audio files; empty for no folder."""
    sounds = find_sounds(name, folder)
    digest = hashlib.sha256()
    for path in sounds:
        digest.update(os.fsencode(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n"))
    return digest.hexdigest()[:16] if sounds else ""


def read_response(path: Path, sample_rate: int) -> Array:
    """Read an impulse response (L,) of energy 1, from its loudest sample on.

    Of several channels the first is used: the mean of two ears has gaps in its spectrum.

    Raises:
        DataError: if it cannot be read or is silent.
    """
    recording = read_recording(path)
    response = resample(recording.channels[:, 0], recording.sample_rate, sample_rate)
    start = int(np.abs(response).argmax())
    if is_silent(response):
        raise DataError(f"{path}: is silent, so it is no impulse response; remove it")
    return unit_energy(response[start : start + round(MAX_RESPONSE_S * sample_rate)])


def read_noise(path: Path, n_samples: int, sample_rate: int, rng: np.random.Generator) -> Array:
    """Read noise (T,) from a random place of a file, repeated if it is too short.

    It is resampled from the file's rate to `sample_rate`, in Hz.

    Raises:
        DataError: if it cannot be read, has an odd rate, or is silent there.
    """
    try:
        with soundfile.SoundFile(path) as file:
            check_sample_rate(path, file.samplerate)
            wanted = -(-n_samples * file.samplerate // sample_rate) + 1
            last = max(0, file.frames - wanted)
            places = rng.integers(last + 1, size=NOISE_PLACES)
            noises = (_read_at(file, int(place), wanted, sample_rate) for place in places)
            noise = next((each for each in noises if each is not None), None)
    except (soundfile.SoundFileError, TypeError) as error:
        raise DataError(f"{path}: not readable as audio ({error}); remove it") from error
    if noise is None:
        raise DataError(
            f"{path}: is silent or not finite at {NOISE_PLACES} places, so it is no noise; "
            "remove it"
        )
    return np.resize(noise, n_samples)


def _read_at(
    file: soundfile.SoundFile, place: int, n_samples: int, sample_rate: int
) -> Array | None:
    """The sound at a place of an open file, resampled; None if there is none."""
    file.seek(place)
    noise = file.read(n_samples, dtype="float32", always_2d=True)[:, 0]
    if not noise.size or not np.isfinite(noise).all():
        return None
    noise = resample(noise, file.samplerate, sample_rate)
    return noise if noise.size and not is_silent(noise) else None


# --- the part of a pack --------------------------------------------------------------------------


def write_copies(
    path: Path, train_dir: Path, maker: CopyMaker, features: Features, assumed_rate: int
) -> None:
    """Write the features of all copies of train: clip by clip, of each the copies in order.

    Args:
        path: The file, of float16.
        train_dir: The folder of the samples, which are valid.
        maker: Makes them.
        features: Computes their features.
        assumed_rate: Hz, of samples without a `sample_rate`.

    Raises:
        DataError: if a file of noise or of a room cannot be used.
    """

    def make(sample_path: Path) -> list[NDArray[np.float16]]:
        sample = read_sample(sample_path)
        audio = resample(sample.audio, sample.sample_rate or assumed_rate, maker.sample_rate)
        n_copies = maker.settings.augment_copies
        return [features(maker.copy(audio, number)) for number in range(n_copies)]

    paths = find_samples(train_dir)
    with (
        path.open("wb") as file,
        progress_bar(total=len(paths), description="copying") as bar,
        ThreadPoolExecutor(_N_THREADS) as pool,
    ):
        for _, made in read_ahead(pool, paths, make):
            for each in made:
                file.write(each.tobytes())
            bar.update()
