"""`tune-encoder data import` and `data check`, as a person runs them."""

import json
import unicodedata

import numpy as np
import pytest
import soundfile

from tests.cli.data_commands import run
from tests.data.recordings import RATE, add_clip, folders, several_clips, speak, voices_of
from tests.fabricate import make_style
from tune_encoder.data.samples import SPLITS, find_samples, read_sample
from tune_encoder.data.voice_style import write_voice_style

__all__ = ["folders", "run", "several_clips"]  # fixtures

DATA = 3


@pytest.fixture
def imports(run, folders, tmp_path):
    """Imports the two folders; returns what `run` does."""

    def imports(*options):
        audio, styles = folders
        where = ["--audio", audio, "--styles", styles, "--out", tmp_path / "out"]
        return run("import", *where, "--sample-rate", RATE, *options)

    return imports


def add_voice(styles_dir, name, seed):
    write_voice_style(styles_dir / f"{name}.json", make_style(seed), {})


def clips_of_voices(out):
    """Number of samples of each voice, over all splits."""
    samples = [read_sample(path) for split in SPLITS for path in find_samples(out / split)]
    voices = [sample.voice for sample in samples]
    return {voice: voices.count(voice) for voice in set(voices)}


def decomposed(name):
    return unicodedata.normalize("NFD", name)


# --- which voice a recording is of ---------------------------------------------------------------


def test_clips_named_in_decomposed_unicode_go_to_the_voice_with_the_accent(
    folders, imports, tmp_path
):
    for seed, name in enumerate(("José", "Jose", "ana")):
        add_voice(folders[1], name, seed)
    for name in ("José_1", "José_2", "Jose_1", "Jose_2", "ana_1", "ana_2"):
        add_clip(folders[0], decomposed(f"{name}.wav"))

    code, told, _ = imports()

    assert code == 0
    assert clips_of_voices(tmp_path / "out") == {"José": 2, "Jose": 2, "ana": 2}
    assert "2 clips: Jose, José, ana" in told


def test_a_vowel_sign_belongs_to_the_name_before_it(folders, imports, tmp_path):
    """Without its style, a recording of Mina is none of Min's."""
    for seed, name in enumerate(("मीन", "ana", "ben")):
        add_voice(folders[1], name, seed)
    for name in ("मीन_1", "मीन_2", "मीना_1", "ana_1", "ana_2", "ben_1", "ben_2"):
        add_clip(folders[0], f"{name}.wav")

    _, told, _ = imports()

    assert clips_of_voices(tmp_path / "out") == {"ana": 2, "ben": 2, "मीन": 2}
    assert any(
        line.startswith("warning: skipped 1 recording without a style: मीना_1.wav") for line in told
    )


def test_a_clip_that_could_be_of_a_name_without_a_style_is_refused(folders, imports, tmp_path):
    add_voice(folders[1], "maria", 1)
    for name in ("maria_0.wav", "maria-luisa_0.wav", "maria luisa 1.wav"):
        add_clip(folders[0], name)

    code, _, errors = imports()

    assert code == DATA
    assert errors == [
        f"tune-encoder: {folders[0]}/maria luisa 1.wav: is of 'maria' or of 'maria luisa', which "
        "has no style; add maria luisa.json, or put it into a folder maria/ or rename it maria_1; "
        "2 of 3 files cannot be used, also maria-luisa_0.wav; import the others with --skip-bad"
    ]
    assert not (tmp_path / "out").exists()


def test_a_word_after_an_underscore_is_a_label_and_is_said(folders, imports, tmp_path):
    for seed, name in enumerate(("maria", "luisa", "ana")):
        add_voice(folders[1], name, seed)
    for name in ("maria_happy_1", "maria_0", "luisa", "luisa-2", "ana", "ana_2"):
        add_clip(folders[0], f"{name}.wav")

    code, told, errors = imports()

    assert code == 0, errors
    assert clips_of_voices(tmp_path / "out") == {"maria": 2, "luisa": 2, "ana": 2}
    assert (
        "warning: taken as of the voice before '_': maria_happy_1.wav; add a style of the longer "
        "name if another voice is meant"
    ) in told


def test_a_word_after_an_underscore_is_said_of_a_clip_in_a_folder_of_no_voice_too(folders, imports):
    for seed, name in enumerate(("maria", "ana", "eva")):
        add_voice(folders[1], name, seed)
    for folder, name in (("studio", "maria_luisa_0"), ("maria", "maria_happy_1"), ("ana", "ana_1")):
        (folders[0] / folder).mkdir(exist_ok=True)
        add_clip(folders[0] / folder, f"{name}.wav")
    for name in ("ana_2", "eva", "eva_2"):
        add_clip(folders[0], f"{name}.wav")

    code, told, errors = imports()

    assert code == 0, errors
    said = (
        "warning: taken as of the voice before '_': maria_luisa_0.wav; add a style of the longer "
    )
    assert any(line.startswith(said) for line in told)


def test_a_name_within_a_longer_name_is_clear_if_both_have_styles(folders, imports, tmp_path):
    for seed, name in enumerate(("maria", "maria-luisa", "ana")):
        add_voice(folders[1], name, seed)
    for name in ("maria_0", "maria_take2", "maria-luisa_0", "maria-luisa-b", "ana 1", "ana"):
        add_clip(folders[0], f"{name}.wav")

    assert imports()[0] == 0
    assert clips_of_voices(tmp_path / "out") == {"ana": 2, "maria": 2, "maria-luisa": 2}


def test_the_clips_of_each_voice_are_counted_few_first(several_clips, imports):
    add_clip(several_clips[0], "voice3_c.wav")

    _, told, _ = imports()

    names = ", ".join(f"voice{seed}" for seed in range(10) if seed != 3)
    assert told[-4:-2] == [f"2 clips: {names}", "3 clips: voice3"]


# --- a folder for each speaker, and other ways to name files -------------------------------------


def add_speaker(folders, name, seed, style):
    """Two clips in a folder of the speaker, and the style where it is told to be."""
    audio_dir, styles_dir = folders
    (audio_dir / name / "chapter").mkdir(parents=True)
    add_clip(audio_dir / name, "0001.WAV")
    add_clip(audio_dir / name / "chapter", "hello_world.wav")
    (styles_dir / style).parent.mkdir(exist_ok=True)
    write_voice_style(styles_dir / style, make_style(seed), {})


@pytest.mark.parametrize("style", ["{0}.json", "{0}.JSON", "{0}/{0}.json", "{0}/style.json"])
def test_a_folder_for_each_speaker_is_read(folders, imports, tmp_path, style):
    for seed, name in enumerate(("84", "1034", "ana maria")):
        add_speaker(folders, name, seed, style.format(name))

    code, told, _ = imports()

    assert code == 0
    assert clips_of_voices(tmp_path / "out") == {"84": 2, "1034": 2, "ana maria": 2}
    assert not any("skipped" in line for line in told)


def test_a_speaker_with_several_styles_is_a_voice_for_each(folders, imports, tmp_path):
    for seed, style in enumerate(("calm", "loud", "sad")):
        (folders[0] / "ana").mkdir(exist_ok=True)
        (folders[1] / "ana").mkdir(exist_ok=True)
        add_voice(folders[1] / "ana", style, seed)
        for number in range(2):
            add_clip(folders[0] / "ana", f"{style}_{number}.wav")

    assert imports()[0] == 0
    assert clips_of_voices(tmp_path / "out") == {"ana_calm": 2, "ana_loud": 2, "ana_sad": 2}


def test_a_clip_in_the_folder_of_another_than_it_is_named_after_is_refused(folders, imports):
    for seed, name in enumerate(("ana", "ben")):
        add_speaker(folders, name, seed, f"{name}.json")
    add_clip(folders[0] / "ana", "ben_7.wav")

    code, _, errors = imports()

    assert code == DATA
    assert f"{folders[0]}/ana/ben_7.wav: is in the folder of 'ana' but named as one of" in errors[0]


def test_two_styles_of_one_name_are_refused(folders, imports):
    add_clip(folders[0], "José_1.wav")
    add_voice(folders[1], "José", 1)
    add_voice(folders[1], decomposed("José"), 2)

    code, _, errors = imports()

    assert code == DATA
    assert "are both the style of 'José'; rename one" in errors[0]


# --- bad files, and bad recordings ---------------------------------------------------------------


def test_what_cannot_be_used_is_left_out_and_listed_if_asked(several_clips, imports, tmp_path):
    audio, styles = several_clips
    for number in range(7):
        add_clip(audio, f"voice1_{number}.wav", seconds=0.5)
    (audio / "voice2_junk1.wav").write_bytes(b"junk")
    add_clip(audio, "voice2-luisa.wav")
    (styles / "voice9.json").write_text("{}")

    code, told, _ = imports("--skip-bad")

    left_out = [line for line in told if line.startswith("left out: ")]
    assert code == 0
    assert len(left_out) == 10
    assert sum("0.50 s of sound" in line for line in left_out) == 7
    assert f"left out: {styles}/voice9.json: has no style_ttl with data" in "\n".join(left_out)
    assert any(line.endswith("(for 2 recordings)") for line in left_out)
    assert clips_of_voices(tmp_path / "out") == {f"voice{seed}": 2 for seed in range(9)}


def test_splits_are_chosen_among_the_voices_that_are_left(several_clips, imports, tmp_path):
    """The voices of val and test may be the very ones that cannot be used."""
    audio, _ = several_clips
    for seed in range(7):
        for path in audio.glob(f"voice{seed}*"):
            path.write_bytes(b"junk")

    assert imports("--skip-bad")[0] == 0

    samples = {s: [read_sample(p) for p in find_samples(tmp_path / "out" / s)] for s in SPLITS}
    assert {len(each) for each in voices_of(samples).values()} == {1}


def test_nothing_is_written_if_nothing_can_be_used(folders, imports, tmp_path):
    add_voice(folders[1], "ana", 1)
    (folders[0] / "ana.wav").write_bytes(b"junk")

    code, _, errors = imports("--skip-bad")

    assert code == DATA
    assert errors[0].startswith("tune-encoder: none of 1 recording can be used: ")
    assert not (tmp_path / "out").exists()


def speech(seconds=4.0, rate=24000):
    """Bursts of noise up to 12 kHz between pauses, as words are."""
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * rate)) / rate
    return (0.1 * rng.normal(size=time.size) * (np.sin(2 * np.pi * 2 * time) > 0)).astype("f")


def save_clipped(path):
    soundfile.write(path, np.clip(20 * speech(), -1, 1), 24000)


def save_narrow(path):
    soundfile.write(path, speech(rate=8000), 8000)


def save_noisy(path):
    soundfile.write(path, speech() + 0.07 * np.random.default_rng(1).normal(size=96000), 24000)


def save_truncated(path):
    soundfile.write(path, speech(), 24000)
    path.write_bytes(path.read_bytes()[:-20000])


def save_inverted(path):
    soundfile.write(path, np.stack([speech(), -0.99 * speech()], axis=1), 24000)


FAULTS = {
    "clipped": (save_clipped, r"clipped: ana_2.wav (3"),
    "narrow": (save_narrow, "as narrow as a telephone's: ana_2.wav (up to 4.0 kHz); record"),
    "noisy": (save_noisy, "noisy: ana_2.wav ("),
    "truncated": (save_truncated, "truncated: ana_2.wav (3.6 s are left); copy it again"),
    "inverted": (save_inverted, "of channels that cancel: ana_2.wav ("),
}


@pytest.mark.parametrize(("save", "words"), FAULTS.values(), ids=FAULTS)
def test_a_recording_with_a_fault_is_imported_with_a_warning(folders, run, tmp_path, save, words):
    audio, styles = folders
    add_voice(styles, "ana", 1)
    soundfile.write(audio / "ana_1.wav", speech(), 24000)
    save(audio / "ana_2.wav")

    code, told, _ = run("import", "--audio", audio, "--styles", styles, "--out", tmp_path / "out")

    (warning,) = [line for line in told if "ana_2" in line]
    assert code == 0
    assert warning.startswith(f"warning: 1 recording is {words}")


@pytest.mark.parametrize("name", ["a.opus", "a.aiff", "a.aif", "a.AIFF"])
def test_opus_and_aiff_are_imported(folders, run, tmp_path, name):
    if name == "a.opus" and "OPUS" not in soundfile.available_subtypes("OGG"):
        pytest.skip("this libsndfile has no Opus")
    audio, styles = folders
    add_voice(styles, "a", 1)
    kind = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {"format": "AIFF"}
    soundfile.write(audio / name, speech(), 24000, **kind)

    code, told, _ = run("import", "--audio", audio, "--styles", styles, "--out", tmp_path / "out")

    assert (code, clips_of_voices(tmp_path / "out")) == (0, {"a": 3})
    assert not any("skipped" in line for line in told)


def test_a_style_without_dims_is_imported(several_clips, imports, tmp_path):
    path = several_clips[1] / "voice3.json"
    content = json.loads(path.read_text())
    for part in ("style_ttl", "style_dp"):
        del content[part]["dims"]
    path.write_text(json.dumps(content))

    assert imports()[0] == 0
    assert clips_of_voices(tmp_path / "out")["voice3"] == 2


# --- dry runs, manifests -------------------------------------------------------------------------


def test_a_dry_run_says_what_an_import_then_makes_and_writes_nothing(
    several_clips, imports, tmp_path
):
    add_clip(several_clips[0], "zoe.wav")
    before = sorted(tmp_path.rglob("*"))

    code, told, _ = imports("--dry-run")

    assert code == 0
    assert sorted(tmp_path.rglob("*")) == before
    _, done, _ = imports()
    samples = {s: [read_sample(p) for p in find_samples(tmp_path / "out" / s)] for s in SPLITS}
    voices = voices_of(samples)
    plan = told.index("split  clips  voices  duration")
    assert told[plan + 1 : plan + 6] == [
        "train     16       8      0:32",
        "val        2       1      0:04",
        "test       2       1      0:04",
        f"voices of val: {min(voices['val'])}",
        f"voices of test: {min(voices['test'])}",
    ]
    assert told[-2] == f"would write 16 train, 2 val, 2 test clips of 10 voices to {tmp_path}/out"
    assert told[:plan] == done[:plan]
    assert done[plan] == told[-2].replace("would write", "wrote")


def test_a_dry_run_finds_what_cannot_be_used(several_clips, imports):
    (several_clips[0] / "voice2_8.wav").write_bytes(b"junk")

    code, _, errors = imports("--dry-run")

    assert code == DATA
    assert "voice2_8.wav: not readable as audio" in errors[0]


def test_a_manifest_is_imported(folders, run, tmp_path):
    audio_dir, styles_dir = folders
    for seed, name in enumerate(("ana", "ben", "zoe")):
        add_voice(styles_dir, name, seed)
        add_clip(audio_dir, f"{seed}.wav")
    rows = ["0.wav,ana,train", "1.wav,ben,val", "2.wav,zoe,test"]
    (audio_dir / "all.csv").write_text("\n".join(["audio,speaker,split", *rows]))

    code, told, _ = run("import", "--manifest", audio_dir / "all.csv", "--styles", styles_dir,
                        "--out", tmp_path / "out", "--sample-rate", RATE)  # fmt: skip

    assert code == 0
    assert clips_of_voices(tmp_path / "out") == {"ana": 1, "ben": 1, "zoe": 1}
    assert f"wrote 1 train, 1 val, 1 test clips of 3 voices to {tmp_path}/out" in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--audio a", "--audio needs --styles, the folder of the voices' style JSONs"),
        (
            "--manifest a.csv --test b",
            "--test goes with --audio; a manifest names test in its column split",
        ),
        ("--manifest a.csv --audio b", "argument --audio: not allowed with argument --manifest"),
        ("", "one of the arguments --audio --manifest is required"),
    ],
)
def test_what_an_import_reads_from_must_be_clear(run, tmp_path, options, words):
    code, _, errors = run("import", *options.split(), "--out", tmp_path / "out")

    assert code == 2
    assert errors[-1].endswith(words)


def test_long_recordings_are_cut_and_it_is_said(folders, imports, tmp_path):
    for seed, name in enumerate(("ana", "ben", "zoe")):
        add_voice(folders[1], name, seed)
        speak(folders[0] / f"{name}.wav", 70.0, seed)

    code, told, _ = imports()

    clips = clips_of_voices(tmp_path / "out")
    assert code == 0
    assert (
        f"3 recordings longer than 60 s were cut at pauses into {sum(clips.values())} pieces: "
        "ana.wav, ben.wav, zoe.wav"
    ) in told
