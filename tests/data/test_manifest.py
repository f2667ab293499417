"""Manifests: tables of recordings and their styles."""

import json
import re

import pytest

from tests.data.recordings import RATE, USUAL, add_clip, samples_of, voices_of
from tests.fabricate import make_style
from tune_encoder.data.importing import import_pairs
from tune_encoder.data.manifest import read_manifest
from tune_encoder.data.splitting import SplitRequest
from tune_encoder.data.voice_style import read_voice_style, write_voice_style
from tune_encoder.errors import ConfigError, DataError

SPEAKERS = ("anna", "ben", "carl")


@pytest.fixture
def corpus(tmp_path):
    """Two clips and a style of each of three speakers, in folders that say nothing."""
    for folder in ("wavs", "json"):
        (tmp_path / "corpus" / folder).mkdir(parents=True)
    for seed, name in enumerate(SPEAKERS):
        write_voice_style(tmp_path / "corpus" / "json" / f"s{seed}.json", make_style(seed), {})
        for letter in "ab":
            add_clip(tmp_path / "corpus" / "wavs", f"{name[0]}{letter}.WAV")
    return tmp_path / "corpus"


def usual_rows():
    return [
        {
            "audio": f"wavs/{name[0]}{letter}.WAV",
            "style": f"json/s{seed}.json",
            "speaker": name,
            "text": f'I am {name}, "so" to say.',
            "lang": "en",
            "split": ("train", "train", "val")[seed],
        }
        for seed, name in enumerate(SPEAKERS)
        for letter in "ab"
    ]


def quoted(value, separator):
    needs_quotes = any(each in value for each in f'{separator}"\n')
    return '"' + value.replace('"', '""') + '"' if needs_quotes else value


def write_table(path, rows, separator=",", columns=None):
    columns = columns or [*rows[0]]
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    text = "".join(separator.join(quoted(v, separator) for v in line) + "\r\n" for line in lines)
    path.write_text(text, encoding="utf-8-sig")
    return path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def import_manifest(path, out, styles=None, request=USUAL, **how):
    return import_pairs(read_manifest(path, styles), out, RATE, 0, request, **how)


def problems_of(path, styles=None):
    return [*read_manifest(path, styles).doubtful.values()]


def without(row, *columns):
    return {name: value for name, value in row.items() if name not in columns}


# --- what is read --------------------------------------------------------------------------------

WRITERS = {
    "a.csv": write_table,
    "a.CSV": lambda path, rows: write_table(path, rows, ";"),
    "a.tsv": lambda path, rows: write_table(path, rows, "\t"),
    "a.jsonl": write_lines,
    "a.ndjson": write_lines,
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_row_is_a_clip_with_its_voice_style_text_language_and_split(corpus, tmp_path, name):
    path = WRITERS[name](corpus / name, usual_rows())

    report = import_manifest(path, tmp_path / "out")

    samples = samples_of(tmp_path / "out")
    assert report.counts == {"train": 4, "val": 2, "test": 0}
    assert voices_of(samples) == {"train": {"anna", "ben"}, "val": {"carl"}, "test": set()}
    sample = samples["val"][1]
    assert (sample.text, sample.lang) == ('I am carl, "so" to say.', "en")
    assert (sample.style_ttl == read_voice_style(corpus / "json" / "s2.json").ttl).all()
    assert report.warnings[0].startswith("val is a single voice (carl): a score on one voice is")
    assert report.warnings[0].endswith("add voices")


def test_a_row_without_a_style_has_that_of_its_speaker(corpus, tmp_path):
    rows = usual_rows()
    rows[0], rows[5] = without(rows[0], "style"), without(rows[5], "style")

    pairing = read_manifest(write_lines(corpus / "a.jsonl", rows))

    assert pairing.doubtful == {}
    assert pairing.styles == {
        name: corpus / "json" / f"s{seed}.json" for seed, name in enumerate(SPEAKERS)
    }
    assert [clip.voice for clip in pairing.clips] == [name for name in SPEAKERS for _ in "ab"]


def test_a_speaker_without_a_style_has_the_one_of_that_name_in_the_folder_of_styles(corpus):
    rows = [without(row, "style") for row in usual_rows()]
    for seed, name in enumerate(SPEAKERS):
        (corpus / "json" / f"s{seed}.json").rename(corpus / "json" / f"{name}.json")

    pairing = read_manifest(write_table(corpus / "a.csv", rows), corpus / "json")

    assert pairing.styles == {name: corpus / "json" / f"{name}.json" for name in SPEAKERS}


def test_a_row_without_a_speaker_is_of_the_voice_that_its_style_names(corpus):
    rows = [without(row, "speaker") for row in usual_rows()]

    pairing = read_manifest(write_table(corpus / "a.csv", rows))

    assert [clip.voice for clip in pairing.clips] == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert [clip.number for clip in pairing.clips] == [0, 1] * 3


def test_a_speaker_with_several_styles_is_a_voice_for_each(corpus):
    rows = [{**row, "speaker": "84"} for row in usual_rows()]

    pairing = read_manifest(write_table(corpus / "a.csv", rows))

    assert {*pairing.styles} == {"84_s0", "84_s1", "84_s2"}


def test_a_speaker_may_be_a_number_and_a_text_null_in_json(corpus):
    rows = [{**row, "speaker": 84 + n // 2, "text": None} for n, row in enumerate(usual_rows())]

    pairing = read_manifest(write_lines(corpus / "a.jsonl", rows))

    assert [clip.voice for clip in pairing.clips] == ["84", "84", "85", "85", "86", "86"]
    assert {clip.text for clip in pairing.clips} == {""}


def test_without_a_column_of_splits_they_are_chosen(corpus, tmp_path):
    rows = [without(row, "split", "text", "lang") for row in usual_rows()]

    report = import_manifest(write_table(corpus / "a.csv", rows), tmp_path / "out")

    samples = samples_of(tmp_path / "out")
    assert [len(voices) for voices in report.voices_of.values()] == [1, 1, 1]
    assert {(s.text, s.lang) for each in samples.values() for s in each} == {("", "na")}


def test_a_voice_may_be_held_out_of_a_manifest_without_splits(corpus, tmp_path):
    path = write_table(corpus / "a.csv", [without(row, "split") for row in usual_rows()])

    report = import_manifest(path, tmp_path / "out", request=SplitRequest(hold_out=["ben"]))

    assert report.voices_of["test"] == ["ben"]


def test_columns_that_nothing_needs_are_said(corpus):
    rows = [{**row, "duration": "2.0", "gender": "f"} for row in usual_rows()]

    pairing = read_manifest(write_table(corpus / "a.csv", rows))

    assert pairing.warnings == ["columns of a.csv that are not used: duration, gender"]


def test_voices_that_are_in_train_and_another_split_are_warned_of(corpus, tmp_path):
    rows = usual_rows()
    rows[3]["split"] = "val"

    report = import_manifest(write_table(corpus / "a.csv", rows), tmp_path / "out")

    assert report.warnings == [
        "1 voice of val or test is in train too, as the column split says (ben): scores on them "
        "tell how well known voices are recognised, not how well new voices are cloned"
    ]


def test_one_voice_under_two_names_in_two_splits_is_warned_of(corpus, tmp_path):
    rows = usual_rows()
    rows[3].update(style="json/s2.json", speaker="dora")

    report = import_manifest(write_table(corpus / "a.csv", rows), tmp_path / "out")

    assert report.warnings[0] == (
        "dora, carl have the same style; a split may get a voice that another one knows; give its "
        "clips one name"
    )


# --- rows that cannot be used --------------------------------------------------------------------

BAD_ROWS = {
    "no audio": ({"audio": ""}, "has no audio; name a recording, or remove the row"),
    "lost audio": (
        {"audio": "wavs/none.wav"},
        r"\S+/wavs/none\.wav: no such recording; name it from the manifest's folder",
    ),
    "lost style": (
        {"style": "json/none.json", "speaker": "zoe"},
        r"\S+/json/none\.json: no such style; name it from the manifest's folder",
    ),
    "nobody": ({"style": "", "speaker": ""}, "has neither style nor speaker; give it one of them"),
    "no style": (
        {"style": "", "speaker": "zoe"},
        r"speaker 'zoe' has no style; name one in a row of that speaker, or the folder of zoe\.json"
        " with --styles",
    ),
    "split": ({"split": "dev"}, "split is 'dev'; it must be train, val or test"),
    "no split": (
        {"split": ""},
        "has no split, although others have; give each row one, or none",
    ),
    "twice": (
        {"audio": "wavs/aa.WAV"},
        r"\S+/wavs/aa\.WAV is the audio of row 2, too; remove one",
    ),
    "a path": (
        {"speaker": "../zoe", "style": "json/s0.json"},
        r"speaker '\.\./zoe' must be a plain name, without / \\ or a leading dot",
    ),
}


@pytest.mark.parametrize(("changes", "words"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_row_that_cannot_be_used_is_said_with_its_number(corpus, changes, words):
    rows = usual_rows()
    rows[3].update(changes)
    path = write_table(corpus / "a.csv", rows)

    (problem,) = problems_of(path)

    assert re.fullmatch(rf"{path}, row 5: {words}", problem)


def test_a_speaker_of_several_styles_needs_one_in_each_row(corpus):
    rows = [{**row, "speaker": "84"} for row in usual_rows()]
    rows[4]["style"] = ""
    path = write_lines(corpus / "a.jsonl", rows)

    assert problems_of(path) == [
        f"{path}, row 5: speaker '84' has several styles, s0.json, s1.json, s2.json; name one of "
        "them"
    ]


def test_two_styles_of_one_name_need_speakers(corpus):
    (corpus / "more").mkdir()
    write_voice_style(corpus / "more" / "s0.json", make_style(8), {})
    rows = [without(row, "speaker") for row in usual_rows()]
    rows[1]["style"] = "more/s0.json"

    (problem,) = problems_of(write_table(corpus / "a.csv", rows))

    assert problem.endswith("more/s0.json and " + str(corpus) + "/json/s0.json are both the style "
                            "of 's0'; rename one")  # fmt: skip


def test_a_text_with_the_separator_must_be_quoted(corpus):
    path = write_table(corpus / "a.csv", [without(row, "text") for row in usual_rows()])
    path.write_text(path.read_text().replace("wavs/ba.WAV", "wavs/ba.WAV,"))

    assert problems_of(path) == [
        f"{path}, row 4: has 6 fields and the first row 5; quote a text that has the character "
        "between fields"
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{'audio': 1}", r"is not JSON \(Expecting .*\); write one object in a line"),
        ('["a.wav"]', r'is no JSON object; write it as \{"audio": "anna_1\.wav", \.\.\.\}'),
        ('{"audio": ["a.wav"]}', r'audio is \["a\.wav"\]; it must be text'),
        ('{"audio": "wavs/aa.WAV", "speaker": true}', r"speaker is true; it must be text"),
    ],
)
def test_a_line_that_is_no_row_is_said_with_its_number(corpus, line, words):
    path = write_lines(corpus / "a.jsonl", usual_rows())
    path.write_text("\n" + path.read_text() + line)

    (problem,) = problems_of(path)

    assert re.fullmatch(rf"{path}, row 8: {words}", problem)


def test_bad_rows_stop_an_import_in_one_line_or_are_left_out(corpus, tmp_path):
    rows = usual_rows()
    rows[1]["audio"] = "wavs/none.wav"
    rows[2]["split"] = "dev"
    path = write_table(corpus / "a.csv", rows)

    message = (
        r"a\.csv, row 3: .*none\.wav: no such recording.*; 2 of 6 files cannot be used, also "
        r"row 4; import the others with --skip-bad$"
    )
    with pytest.raises(DataError, match=message):
        import_manifest(path, tmp_path / "out")
    report = import_manifest(path, tmp_path / "out", skip_bad=True)
    assert report.counts == {"train": 2, "val": 2, "test": 0}
    assert len(report.left_out) == 2


@pytest.mark.parametrize("column", ["audio", "style"])
def test_a_name_too_long_for_a_file_is_said_with_its_row(corpus, column):
    rows = usual_rows()
    rows[1][column] = "x" * 300 + ".wav"

    (problem,) = problems_of(write_table(corpus / "a.csv", rows))

    shown = f"{corpus}/{'x' * 300}"[:80]
    assert problem == (
        f"{corpus}/a.csv, row 3: '{shown}'... cannot be looked for (File name too long); name a "
        "file from the manifest's folder"
    )


def test_a_speaker_whose_name_is_too_long_for_a_file_stops_an_import_or_is_left_out(
    corpus, tmp_path
):
    rows = [{**row, "speaker": row["speaker"].replace("carl", "ü" * 101)} for row in usual_rows()]
    rows[0]["split"] = "val"
    path = write_table(corpus / "a.csv", rows)

    message = (
        rf"^'{'ü' * 40}'\.\.\.: a voice's name has 202 bytes, but its samples are named by it; "
        r"give it at most 200 \(for 2 recordings\); 1 of 6 files cannot be used; import the others"
    )
    with pytest.raises(DataError, match=message):
        import_manifest(path, tmp_path / "out")
    report = import_manifest(path, tmp_path / "out", skip_bad=True)
    assert report.counts == {"train": 3, "val": 1, "test": 0}


def test_an_m4a_in_a_manifest_is_refused_with_the_command_that_converts_it(corpus, tmp_path):
    rows = usual_rows()
    rows[0]["audio"] = "wavs/my voice.m4a"
    (corpus / "wavs" / "my voice.m4a").write_bytes(b"\0\0\0 ftypM4A ")

    message = rf"voice\.m4a: not readable .*; convert it: ffmpeg -i '{corpus}/wavs/my voice\.m4a' '"
    with pytest.raises(DataError, match=message):
        import_manifest(write_table(corpus / "a.csv", rows), tmp_path / "out")


# --- manifests that cannot be read ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"audio,speeker\na.wav,x\n", r"unknown column 'speeker'; did you mean 'speaker'"),
        ("a.csv", b"audio,Lang\na.wav,x\n", r"unknown column 'Lang'; did you mean 'lang'\?"),
        (
            "a.csv",
            b"path,style\na.wav,x\n",
            r"has no column 'audio' but path, style; a manifest has audio, style, speaker, text, "
            r"lang, split, of which only audio is needed in each row",
        ),
        ("a.csv", b"audio,style,audio\na,b,c\n", r"has the column 'audio' 2 times; name each once"),
        ("a.csv", b"audio,style\n", r"has no row; write one for each recording"),
        ("a.jsonl", b"\n", r"has no row; write one for each recording"),
        ("a.csv", "audio\njosé.wav\n".encode("latin-1"), r"is not UTF-8 \(.*\); save it as UTF-8"),
        (
            "a.csv",
            b"audio,text\na,b\na," + b"x" * 200_000,
            r"row 3 is not readable as CSV \(field larger than field limit",
        ),
        ("none.csv", None, r"no such file; give the path of a manifest"),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=rf"{name}: {words}"):
        read_manifest(tmp_path / name)


def test_a_table_of_another_format_is_refused_with_those_that_are_read(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK")

    message = r"a\.xlsx: a manifest is one of \.csv, \.tsv, \.jsonl, \.ndjson; rename it as what it"
    with pytest.raises(ConfigError, match=message):
        read_manifest(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("asked", "options"),
    [({"how": "time"}, "--split"), ({"how": "voices", "hold_out": ["ben"]}, "--split and --hold-")],
)
def test_options_beside_a_column_of_splits_are_refused(corpus, tmp_path, asked, options):
    path = write_table(corpus / "a.csv", usual_rows())

    message = rf"a\.csv: its column split says the split of each clip; leave {options}.* away, or"
    with pytest.raises(ConfigError, match=message):
        import_manifest(path, tmp_path / "out", request=SplitRequest(**asked))


def test_a_manifest_that_leaves_nothing_for_val_is_refused(corpus, tmp_path):
    rows = [{**row, "split": "train"} for row in usual_rows()]

    message = r"a\.csv: no clip is left for val; name it in the column split, or leave the column "
    with pytest.raises(DataError, match=message):
        import_manifest(write_table(corpus / "a.csv", rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()
