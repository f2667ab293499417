import json
from pathlib import Path

import numpy as np
import pytest

from tests.fabricate import make_style
from tune_encoder.data.voice_style import (
    VoiceStyle,
    check_same_version,
    read_voice_style,
    write_voice_style,
)
from tune_encoder.errors import DataError, StorageError


def content(style):
    return {
        "style_ttl": {"data": [style.ttl.tolist()], "dims": [1, 50, 256], "type": "float32"},
        "style_dp": {"data": [style.dp.tolist()], "dims": [1, 8, 16], "type": "float32"},
    }


def assert_equal(style, expected):
    np.testing.assert_allclose(style.ttl, expected.ttl, atol=1e-6)
    np.testing.assert_allclose(style.dp, expected.dp, atol=1e-6)


def test_a_written_style_reads_back_equal(tmp_path):
    write_voice_style(tmp_path / "a.json", make_style(1), {"source_file": "a.wav"})

    assert_equal(read_voice_style(tmp_path / "a.json"), make_style(1))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_a_style_that_cannot_be_written_is_refused_with_the_place(tmp_path):
    with pytest.raises(StorageError, match=r"none/a\.json: cannot be written \(No such file"):
        write_voice_style(tmp_path / "none" / "a.json", make_style(1), {})


def test_the_written_json_has_the_form_that_every_loader_reads(tmp_path):
    write_voice_style(tmp_path / "a.json", make_style(1), {"source_file": "a.wav"})

    written = json.loads((tmp_path / "a.json").read_text())

    assert written["metadata"] == {"source_file": "a.wav"}
    for name, shape in (("style_ttl", (1, 50, 256)), ("style_dp", (1, 8, 16))):
        assert np.array(written[name]["data"]).shape == shape
        assert written[name]["dims"] == list(shape)
        assert written[name]["type"] == "float32"


def flat(part):
    part["data"] = np.ravel(part["data"]).tolist()


def two_deep(part):
    part["data"] = part["data"][0]


def named_shape(part):
    part["shape"] = part.pop("dims")


def without_type(part):
    del part["type"]


@pytest.mark.parametrize("change", [flat, two_deep, named_shape, without_type])
def test_the_forms_other_tools_write_are_read_too(tmp_path, change):
    written = content(make_style(1))
    for part in written.values():
        change(part)
    (tmp_path / "a.json").write_text(json.dumps(written))

    assert_equal(read_voice_style(tmp_path / "a.json"), make_style(1))


def test_a_byte_order_mark_is_read_over(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(content(make_style(1))), encoding="utf-8-sig")

    assert_equal(read_voice_style(tmp_path / "a.json"), make_style(1))


def test_rows_a_little_off_norm_1_are_read_at_norm_1(tmp_path):
    style = make_style(1)
    loud = VoiceStyle(style.ttl * np.float32(1.15), style.dp * np.float32(0.95))
    (tmp_path / "a.json").write_text(json.dumps(content(loud)))

    assert_equal(read_voice_style(tmp_path / "a.json"), style)


def changed(part, key, value):
    written = content(make_style(1))
    written[part][key] = value
    return json.dumps(written)


def with_value(value):
    data = make_style(1).ttl.tolist()
    data[7][0] = value
    return changed("style_ttl", "data", [data])


BAD_STYLES = {
    "broken": ('{"style_ttl":', r"bad\.json: not a readable style JSON"),
    "deep": ("[" * 100_000, r"bad\.json: not a readable style JSON"),
    "list": ("[1, 2]", r"bad\.json: not a style; it must have style_ttl and style_dp"),
    "no_ttl": ('{"style_dp": {}}', r"bad\.json: has no style_ttl with data"),
    "wrong_dims": (
        changed("style_dp", "dims", [1, 16, 8]),
        r"bad\.json: style_dp has dims \[1, 16, 8\]; they must be \[1, 8, 16\]",
    ),
    "wrong_count": (
        changed("style_dp", "data", [0.25] * 127),
        r"bad\.json: style_dp has 127 numbers; 128 are needed",
    ),
    "transposed": (
        changed("style_dp", "data", np.full((1, 16, 8), 0.25).tolist()),
        r"bad\.json: style_dp is nested as \[1, 16, 8\]; it must be \[1, 8, 16\], or flat",
    ),
    "ragged": (
        changed("style_dp", "data", [[[0.25] * 16] * 7 + [[0.25]]]),
        r"bad\.json: style_dp has values that are not numbers",
    ),
    "words": (
        changed("style_dp", "data", ["a"] * 128),
        r"bad\.json: style_dp has values that are not numbers",
    ),
    "huge_int": (with_value(10**400), r"bad\.json: style_ttl has values that are not numbers"),
    "nan": (with_value(float("nan")), r"bad\.json: style_ttl has 1 NaN or infinite value"),
    "null": (with_value(None), r"bad\.json: style_ttl has 1 NaN or infinite value"),
    "huge": (with_value(1e39), r"bad\.json: style_ttl row 7 has norm 1e\+39; .*norm 1"),
    "not_unit": (
        changed("style_ttl", "data", np.ones((1, 50, 256)).tolist()),
        r"bad\.json: style_ttl row 0 has norm 16; .*rows of norm 1 \(0\.9 to 1\.2 is accepted\)",
    ),
    "zeros": (changed("style_dp", "data", [0.0] * 128), r"bad\.json: style_dp row 0 has norm 0;"),
}


@pytest.mark.parametrize(("text", "message"), BAD_STYLES.values(), ids=BAD_STYLES)
def test_a_bad_style_is_refused_with_its_file_and_what_is_needed(tmp_path, text, message):
    (tmp_path / "bad.json").write_text(text)

    with pytest.raises(DataError, match=message):
        read_voice_style(tmp_path / "bad.json")


def test_an_absent_style_is_refused_by_name(tmp_path):
    with pytest.raises(
        DataError, match=r"absent\.json: no such file; give the path of a style JSON"
    ):
        read_voice_style(tmp_path / "absent.json")


def test_styles_of_one_version_belong_together():
    check_same_version({Path(f"{seed}.json"): make_style(seed) for seed in range(5)})


def test_styles_of_two_versions_are_refused_by_their_two_names():
    styles = {
        Path("a.json"): make_style(1),
        Path("b.json"): make_style(2),
        Path("c.json"): make_style(1, version=1),
    }

    with pytest.raises(DataError, match=r"c\.json and a\.json .*cosine -?0\.0.*one version only"):
        check_same_version(styles)
