import contextlib
import io
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from tests.fabricate import make_sample
from tune_encoder.data.samples import find_samples, member_checksums, read_sample, write_sample
from tune_encoder.errors import DataError


def arrays_of(**changes):
    """What a good file holds, with some members changed, or left out if None."""
    sample = make_sample()
    arrays = {
        "audio": sample.audio,
        "style_ttl": sample.style_ttl[None],
        "style_dp": sample.style_dp[None],
        "text": np.array("Hello."),
        "lang": np.array("en"),
        "sample_rate": np.array(24000),
        **changes,
    }
    return {name: array for name, array in arrays.items() if array is not None}


def save(path, **changes):
    np.savez(path, **arrays_of(**changes))
    return path


def as_npy(array):
    file = io.BytesIO()
    npy.write_array(file, np.asanyarray(array), allow_pickle=False)
    return file.getvalue()


def save_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(f"{name}.npy", content)
    return path


def members_of(**changes):
    return {name: as_npy(array) for name, array in arrays_of(**changes).items()}


# --- good files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sample_rate": None},
        {"voice": "anna"},
        {"text": "", "lang": "na"},
        {"text": "Grüße 你好"},
    ],
    ids=["plain", "no_rate", "voice", "no_text", "unicode"],
)
def test_a_written_sample_reads_back_equal(tmp_path, changes):
    sample = make_sample(**changes)
    write_sample(tmp_path / "a.npz", sample)

    read = read_sample(tmp_path / "a.npz")

    for name in ("audio", "style_ttl", "style_dp"):
        np.testing.assert_array_equal(getattr(read, name), getattr(sample, name))
        assert getattr(read, name).dtype == np.float32
    for name in ("text", "lang", "sample_rate", "voice"):
        assert getattr(read, name) == getattr(sample, name)


def test_equal_samples_give_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_sample(tmp_path / name, make_sample())

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"audio": make_sample().audio.astype(np.float64)}, "audio", make_sample().audio),
        ({"audio": make_sample().audio.astype(">f4")}, "audio", make_sample().audio),
        ({"style_ttl": make_sample().style_ttl}, "style_ttl", make_sample().style_ttl),
        ({"sample_rate": np.array([16000])}, "sample_rate", 16000),
        ({"sample_rate": np.array(16000.0)}, "sample_rate", 16000),
        ({"text": np.array(["Hello."])}, "text", "Hello."),
        ({"notes": np.zeros(3)}, "text", "Hello."),
    ],
    ids=["float64", "big_endian", "style_2d", "rate_1d", "rate_float", "text_1d", "extra_member"],
)
def test_the_forms_that_other_tools_write_are_read_too(tmp_path, changes, name, expected):
    read = getattr(read_sample(save(tmp_path / "a.npz", **changes)), name)

    np.testing.assert_array_equal(read, expected)


def test_compressed_files_are_read_too(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **arrays_of())

    np.testing.assert_array_equal(read_sample(tmp_path / "a.npz").audio, make_sample().audio)


def test_samples_are_found_in_the_order_of_their_names(tmp_path):
    for name in ("b.npz", "a.npz", "c.txt", "B.npz"):
        (tmp_path / name).touch()

    assert [path.name for path in find_samples(tmp_path)] == ["B.npz", "a.npz", "b.npz"]
    assert find_samples(tmp_path / "absent") == []


# --- arrays that are no sample -------------------------------------------------------------------


def with_audio(*values):
    audio = make_sample().audio.copy()
    audio[10 : 10 + len(values)] = values
    return audio


LOUD_STYLE = 5 * make_sample().style_ttl[None]
BAD_ARRAYS = [
    ({"audio": None}, "has no 'audio'; it needs audio, style_ttl, style_dp, text, lang"),
    ({"style_dp": None}, "has no 'style_dp'; it needs audio, style_ttl, style_dp, text, lang"),
    ({"text": None}, "has no 'text'; it needs audio, style_ttl, style_dp, text, lang"),
    (
        {"audio": with_audio(np.nan, 0, np.inf)},
        "audio has 2 NaN or infinite values, the f",
    ),
    ({"audio": with_audio(np.nan)}, "the first at 10; remove or repair the clip"),
    ({"audio": with_audio(0).astype(np.float64) * 1e300}, "NaN or infinite values"),
    ({"audio": np.zeros(0, np.float32)}, "audio is empty; remove the file or make it again"),
    ({"audio": np.zeros(9, np.float32)}, "audio is all zero; remove the file"),
    ({"audio": np.full(9, 1e-60)}, "audio is all zero; remove the file"),
    (
        {"audio": np.ones((9, 2), np.float32)},
        "audio has shape (9, 2); it must be (T,), one channel",
    ),
    ({"audio": np.float32(1)}, "audio has shape (); it must be (T,), one channel"),
    ({"audio": np.ones(9, np.int16)}, "audio is int16; save it as float32 from -1 to 1"),
    ({"audio": np.ones(9, np.complex64)}, "audio is complex64; save it as float32 from -1 to 1"),
    ({"style_ttl": np.ones((256, 50))}, "style_ttl has shape (256, 50); it must be [1, 50, 256]"),
    ({"style_dp": np.ones((2, 8, 16))}, "style_dp has shape (2, 8, 16); it must be [1, 8, 16]"),
    ({"style_ttl": LOUD_STYLE}, "style_ttl row 0 has norm 5; Supertonic styles have rows of norm"),
    ({"style_ttl": LOUD_STYLE.astype(np.float64) * 1e99}, "style_ttl has 12800 NaN or infinite"),
    ({"style_dp": np.full((1, 8, 16), np.nan)}, "style_dp has 128 NaN or infinite values"),
    ({"style_dp": np.full((1, 8, 16), "a")}, "style_dp is <U1; save it as float32"),
    ({"sample_rate": np.array(0)}, "sample_rate is 0; it must be from 4000 to 384000 Hz"),
    ({"sample_rate": np.array(np.nan)}, "sample_rate is nan; it must be from 4000 to 384000 Hz"),
    (
        {"sample_rate": np.array("24 kHz")},
        "sample_rate is '24 kHz'; it must be from 4000 to 384000",
    ),
    ({"sample_rate": np.array(8000j)}, "8000.j; it must be from 4000 to 384000 Hz"),
    (
        {"sample_rate": np.array([8000, 8000])},
        "sample_rate is [8000 8000]; it must be from 4000 to",
    ),
    ({"text": np.frombuffer(b"\xff" * 4, "<U1")}, "text is not valid text ("),
    ({"text": np.array(["a", "b"])}, "text has shape (2,); save one string"),
    ({"sample_rate": np.ones((2, 3))}, "sample_rate is of shape (2, 3); it must be from 4000 to"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ARRAYS)
def test_arrays_that_are_no_sample_are_refused_with_file_and_remedy(tmp_path, changes, message):
    save(tmp_path / "bad.npz", **changes)

    with pytest.raises(DataError, match=rf"bad\.npz: .*{re.escape(message)}"):
        read_sample(tmp_path / "bad.npz")


# --- files that are damaged or hostile -----------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no zip" * 50,
        lambda content: content[:-30],
        lambda content: content[:-4000],
        lambda content: content[:3000],
    ],
    ids=["empty", "no_zip", "cut_30", "cut_4000", "first_3000"],
)
def test_a_broken_file_is_refused_by_name(tmp_path, damage):
    path = save(tmp_path / "bad.npz")
    path.write_bytes(damage(path.read_bytes()))

    for read in (read_sample, member_checksums):
        with pytest.raises(DataError, match=r"bad\.npz: not a readable npz file .*; make it again"):
            read(path)


def test_an_absent_file_is_refused_by_name(tmp_path):
    with pytest.raises(
        DataError, match=r"absent\.npz: no such file; give the path of an npz sample"
    ):
        read_sample(tmp_path / "absent.npz")


def test_a_changed_byte_of_audio_is_noticed(tmp_path):
    path = save(tmp_path / "bad.npz")
    content = bytearray(path.read_bytes())
    content[content.index(make_sample().audio.tobytes()[:16])] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"bad\.npz: not a readable npz file .*Bad CRC-32"):
        read_sample(path)


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()


@pytest.mark.parametrize("name", ["audio", "text", "voice"])
def test_an_array_of_objects_is_refused_and_never_unpickled(tmp_path, name):
    canary = tmp_path / "canary"
    save(tmp_path / "bad.npz", **{name: np.array([Canary(canary)], dtype=object)})

    with pytest.raises(DataError, match=rf"bad\.npz: {name} holds Python objects, which could run"):
        read_sample(tmp_path / "bad.npz")
    assert not canary.exists()

    # Unpickled on purpose, made above: it shows that the file was a real danger.
    np.load(tmp_path / "bad.npz", allow_pickle=True)[name]
    assert canary.exists()


def test_an_array_of_objects_that_nobody_asked_for_is_never_unpickled(tmp_path):
    canary = tmp_path / "canary"
    save(tmp_path / "a.npz", notes=np.array([Canary(canary)], dtype=object))

    assert read_sample(tmp_path / "a.npz").text == "Hello."
    assert not canary.exists()


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    members = [*members_of().items(), ("audio", as_npy(np.ones(9, np.float32)))]
    with pytest.warns(UserWarning, match="Duplicate name"):
        save_members(tmp_path / "bad.npz", members)

    with pytest.raises(DataError, match=r"bad\.npz: holds 'audio' twice; save each array once"):
        read_sample(tmp_path / "bad.npz")


def npy_header(shape, dtype="<f4"):
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize("shape", [(10**15,), (10**9, 10**9), (2**62, 4), (9,), (-1,)])
def test_a_header_that_says_more_than_there_is_is_refused(tmp_path, shape):
    members = {**members_of(), "audio": npy_header(shape) + bytes(40)}
    save_members(tmp_path / "bad.npz", members.items())

    with pytest.raises(DataError, match=r"bad\.npz: audio has shape \(.* but \d+ bytes; make"):
        read_sample(tmp_path / "bad.npz")


@pytest.mark.parametrize("dtype", ["|V0", "|S0", "<U0", [], ("<f4", (0,))])
def test_a_negative_shape_of_nothing_is_refused(tmp_path, dtype):
    members = {**members_of(), "audio": npy_header((-1,), dtype)}  # numpy would divide by zero
    save_members(tmp_path / "bad.npz", members.items())

    with pytest.raises(DataError, match=r"bad\.npz: "):
        read_sample(tmp_path / "bad.npz")


def test_a_member_that_claims_less_than_it_has_is_not_unpacked_beyond(tmp_path):
    true = as_npy(np.zeros(40 * 2**18, np.float32))
    members = {**members_of(sample_rate=None), "audio": true}
    path = save_members(tmp_path / "bad.npz", members.items(), zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"audio.npy") - 46
    content[entry + 24 : entry + 28] = (528).to_bytes(4, "little")
    path.write_bytes(content)

    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"bad\.npz: "):
            read_sample(path)
        assert tracemalloc.get_traced_memory()[1] < len(true) / 4
    finally:
        tracemalloc.stop()


def test_a_compression_that_numpy_never_uses_is_refused(tmp_path):
    path = save_members(tmp_path / "bad.npz", members_of().items(), zipfile.ZIP_BZIP2)

    with pytest.raises(
        DataError, match=r"is compressed as numpy never does; save it with numpy\.sa"
    ):
        read_sample(path)


@pytest.mark.parametrize("name", ["audio", "text"])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_before_it_is_unpacked(tmp_path, name):
    path = save_members(tmp_path / "bad.npz", members_of(sample_rate=None).items())
    content = bytearray(path.read_bytes())
    entry = content.rindex(f"{name}.npy".encode()) - 46  # the member's entry in the directory
    content[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")  # its unpacked size
    path.write_bytes(content)

    with pytest.raises(DataError, match=rf"bad\.npz: {name} claims 4295 MB; the limit is 537 MB"):
        read_sample(path)


def test_members_nobody_asked_for_are_not_unpacked(tmp_path):
    members = {**members_of(), "bomb": npy_header((2**40,)) + bytes(1000)}
    save_members(tmp_path / "a.npz", members.items(), zipfile.ZIP_DEFLATED)

    assert read_sample(tmp_path / "a.npz").text == "Hello."


def mutated(content, rng):
    """Change a few bytes, or cut or repeat a piece."""
    content = bytearray(content)
    start = int(rng.integers(len(content)))
    match rng.integers(4):
        case 0:
            return bytes(content[:start])
        case 1:
            return bytes(content[:start] + content[start // 2 :])
        case _:
            for at in rng.integers(len(content), size=rng.integers(1, 6)):
                content[at] = rng.integers(256)
            return bytes(content)


def header_mutated(content, rng):
    """Change a few bytes of an array's header or of its first values."""
    head = bytearray(content[:140])
    for at in rng.integers(len(head), size=rng.integers(1, 4)):
        head[at] = rng.integers(256)
    return bytes(head) + content[140:]


def assert_read_or_refused(path):
    for read in (read_sample, member_checksums):
        with contextlib.suppress(DataError):
            read(path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A good file that deflates well: its audio is short and its styles repeat."""
    folder = tmp_path_factory.mktemp("tiny")
    arrays = arrays_of(
        audio=make_sample(n_samples=8).audio,
        style_ttl=np.full((1, 50, 256), 1 / 16, np.float32),
        style_dp=np.full((1, 8, 16), 1 / 4, np.float32),
    )
    np.savez_compressed(folder / "good.npz", **arrays)
    read_sample(folder / "good.npz")
    return folder / "good.npz", {name: as_npy(array) for name, array in arrays.items()}


@pytest.mark.filterwarnings("ignore:Duplicate name", "ignore::SyntaxWarning")
def test_whatever_bytes_a_file_has_it_is_read_or_refused_as_data(tiny, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "bad.npz"
    good = tiny[0].read_bytes()
    for _ in range(1000):
        path.write_bytes(mutated(good, rng))
        assert_read_or_refused(path)


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::numpy.exceptions.ComplexWarning")
def test_whatever_an_array_says_of_itself_it_is_read_or_refused_as_data(tiny, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "bad.npz"
    members = tiny[1]
    for _ in range(500):
        name = str(rng.choice(list(members)))
        changed = {**members, name: header_mutated(members[name], rng)}
        save_members(path, changed.items())
        assert_read_or_refused(path)
