import numpy as np
import pytest

from tests.data.test_audio import tone
from tune_encoder.data.audio import remove_dc
from tune_encoder.data.mel import MelSettings
from tune_encoder.data.novelty import known_sound, read_known_sound, write_known_sound
from tune_encoder.data.samples import find_samples, read_sample

SETTINGS = MelSettings(24000, 1024, 256, 80)


@pytest.fixture(scope="module")
def sound(packed):
    return known_sound(packed.train.clip, packed.train.style_ids, SETTINGS)


@pytest.mark.parametrize("split", ["val", "test"])
def test_no_new_voice_is_beyond_what_is_allowed(sound, data_dir, split):
    clips = [remove_dc(read_sample(path).audio) for path in find_samples(data_dir / split)]

    assert max(sound.novelty(clip) for clip in clips) < 0.8


@pytest.mark.parametrize("seconds", [1.0, 5.0, 12.0])
@pytest.mark.parametrize("frequency_hz", [200, 1000])
def test_a_tone_is_far_beyond_it(sound, seconds, frequency_hz):
    assert sound.novelty(tone(frequency_hz, seconds)) > 2


def test_level_does_not_count(sound, voices):
    assert sound.novelty(voices[0]) == pytest.approx(sound.novelty(0.05 * voices[0]), abs=0.01)


def test_clips_of_one_style_do_not_say_what_is_usual(packed):
    ids = np.zeros(len(packed.train), dtype=np.int64)

    assert known_sound(packed.train.clip, ids, SETTINGS) is None


def test_clips_that_all_sound_alike_do_not_say_what_is_usual(packed):
    ids = np.arange(4)

    assert known_sound(lambda _: packed.train.clip(0), ids, SETTINGS) is None


def test_what_is_written_is_read_back(sound, voices, tmp_path):
    write_known_sound(tmp_path, sound, epoch=1)

    back = read_known_sound(tmp_path)

    assert back is not None
    assert back.novelty(voices[0]) == pytest.approx(sound.novelty(voices[0]), abs=0.01)
