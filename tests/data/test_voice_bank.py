import numpy as np
import pytest

from tests.fabricate import make_style
from tune_encoder.data.scores import Styles
from tune_encoder.data.voice_bank import (
    VoiceBank,
    bank_of_clips,
    bank_of_presets,
    read_bank,
    read_styles,
    write_bank,
)
from tune_encoder.data.voice_style import VoiceStyle, write_voice_style
from tune_encoder.errors import DataError, StorageError
from tune_encoder.system.manifest import save_with_hash


def styles_of(seeds):
    made = [make_style(seed) for seed in seeds]
    return Styles(np.stack([each.ttl for each in made]), np.stack([each.dp for each in made]))


@pytest.fixture
def bank():
    return VoiceBank([f"v{seed}" for seed in range(8)], styles_of(range(8)))


def test_a_voice_of_the_bank_is_nearest_to_itself_at_no_distance(bank):
    assert bank.nearest(make_style(5)) == ("v5", pytest.approx(0, abs=1e-6))


def test_a_strange_voice_is_about_as_far_off_as_the_voices_are_from_each_other(bank):
    _, distance = bank.nearest(make_style(50))

    assert 0.9 < distance < 1.1


def test_halfway_between_two_voices_the_distance_is_a_half(bank):
    a, b = make_style(2), make_style(3)
    halfway = VoiceStyle(0.6 * a.ttl + 0.4 * b.ttl, 0.6 * a.dp + 0.4 * b.dp)

    assert bank.nearest(halfway) == ("v2", pytest.approx(0.4, abs=0.02))


def test_in_a_bank_of_one_voice_a_distance_means_nothing():
    for seeds in ([1], [1, 1, 1]):
        bank, others = VoiceBank(["only"] * len(seeds), styles_of(seeds)), [make_style(2)]

        assert bank.nearest(others[0]) == ("only", None)
        assert bank.spread(others * 2) is None
        assert bank.distances(others * 2) is None


def test_clips_of_one_voice_become_one_entry_of_their_mean_with_rows_of_norm_1():
    bank = bank_of_clips(["b", "a", "b"], styles_of([1, 2, 3]))

    assert bank.names == ["a", "b"]
    np.testing.assert_allclose(bank.styles.ttl[0], make_style(2).ttl, atol=1e-6)
    mean = (make_style(1).dp + make_style(3).dp) / 2
    np.testing.assert_allclose(
        bank.styles.dp[1], mean / np.linalg.norm(mean, axis=-1, keepdims=True), atol=1e-6
    )


def test_a_bank_reads_back_to_a_thousandth_of_a_distance(bank, tmp_path):
    write_bank(tmp_path, bank, epoch=3)

    read = read_bank(tmp_path)

    assert read is not None
    assert read.names == bank.names
    for seed in range(8):
        name, distance = read.nearest(make_style(seed))
        assert name == f"v{seed}"
        assert distance == pytest.approx(0, abs=1e-3)


def test_a_model_without_voices_has_no_bank(tmp_path):
    assert read_bank(tmp_path) is None


def test_a_damaged_bank_is_refused_by_name(bank, tmp_path):
    write_bank(tmp_path, bank, epoch=3)
    path = tmp_path / "voices.npz"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)

    with pytest.raises(StorageError, match=r"voices\.npz: damaged, its SHA-256 is not the one in"):
        read_bank(tmp_path)


def test_a_bank_that_would_have_to_be_unpickled_is_refused(tmp_path):
    with (tmp_path / "evil.npz").open("wb") as file:
        np.savez(file, names=np.array([print], dtype=object), ttl=np.zeros(1), dp=np.zeros(1))
    save_with_hash(tmp_path / "voices.npz", (tmp_path / "evil.npz").read_bytes(), epoch=1)

    with pytest.raises(
        StorageError, match=r"voices\.npz: not a valid voice bank \(Object arrays cannot"
    ):
        read_bank(tmp_path)


def test_presets_are_named_by_their_files(tmp_path):
    for seed, name in enumerate(("F1", "M1")):
        write_voice_style(tmp_path / f"{name}.json", make_style(seed), {})

    assert bank_of_presets(read_styles(tmp_path)).nearest(make_style(1))[0] == "M1"


def test_a_folder_without_presets_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"has no style JSON; name a folder of styles, such as F1"):
        read_styles(tmp_path)


def test_a_preset_that_is_no_style_is_refused_by_name(tmp_path):
    (tmp_path / "F1.json").write_text("{}")

    with pytest.raises(DataError, match=r"F1\.json: has no style_ttl with data"):
        read_styles(tmp_path)
