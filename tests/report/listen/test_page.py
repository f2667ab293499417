"""The page of a listening test: what stands in it, and that a browser shows it."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.report.browser import Tags, needs_browser, probe
from tune_encoder.errors import StorageError
from tune_encoder.report.listen import write_listen_page

pytestmark = pytest.mark.weights

VOICE = "supertonic-3"
SHOCK = "<script>alert('boo').wav"


@pytest.fixture(scope="module")
def heard(hear, spoken, tmp_path_factory):
    odd = tmp_path_factory.mktemp("odd") / SHOCK
    odd.write_bytes((spoken / "M4.wav").read_bytes())
    return hear(spoken / "F2.wav", odd)


@pytest.fixture(scope="module")
def text(heard, listener, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "listen.html"
    write_listen_page(path, heard, listener, path.parent / "my model", VOICE)
    return path.read_text()


def decoded(url):
    return io.BytesIO(base64.b64decode(url.partition(",")[2]))


def test_nothing_is_loaded_from_anywhere_and_no_script_runs(text):
    page = Tags(text)
    assert all(address.startswith(("#", "data:")) for address in page.addresses())
    assert page.all("script") == []
    assert "default-src 'none'" in page.all("meta")[1]["content"]
    assert "url(" not in text


def test_a_name_that_is_html_stays_text(text):
    assert SHOCK not in text
    assert "&lt;script&gt;alert(&#39;boo&#39;).wav" in text


def test_original_clones_and_the_nearest_preset_can_be_heard_at_one_level(text, listener):
    sounds = Tags(text).all("audio")
    names = [each["aria-label"] for each in sounds]
    assert names[:5] == [
        "Original of F2.wav",
        *(f"Clone, sentence {number} of F2.wav" for number in (1, 2, 3)),
        "Preset F2, the nearest of F2.wav",
    ]
    assert len(names) == 10
    for each in sounds:
        audio, rate = soundfile.read(decoded(each["src"]))
        assert rate == listener.ear.sample_rate
        assert 1 < len(audio) / rate <= 10
        assert 20 * np.log10(np.sqrt(np.mean(audio**2))) == pytest.approx(-26, abs=3)


def test_seconds_are_equally_wide_in_all_pictures_of_a_recording(text):
    widths = [float(each) for each in re.findall(r'class="pictures" style="width: ([\d.]+)%', text)]
    images = Tags(text).all("img")
    assert len(widths) == len(images) == 10
    for start in (0, 5):
        frames = [Image.open(decoded(each["src"])).width for each in images[start : start + 5]]
        assert max(widths[start : start + 5]) == 100
        scale = np.array(frames) / widths[start : start + 5]
        assert scale.max() / scale.min() < 1.02


def test_numbers_stand_beside_what_they_mean(text, heard, listener):
    words = " ".join(re.sub(r"<[^>]+>", " ", text).split())
    scale, first = listener.scale, heard[0]
    assert f"Clone and original {first.similarity:.2f} alike; the presets " in words
    assert f"two presets {scale.strangers:.2f}, one preset to itself {scale.same:.2f}." in words
    place = f"{scale.place(first.similarity):.2f}"
    assert f"On the scale {place} 0: as two presets, 1: as one with itself" in words
    name, distance = first.nearest
    assert f"Nearest known voice {name} distance {distance:.2f}, by style" in words
    assert re.search(r"Pitch of the original \d+ Hz \d+ Hz in the clone; medians", words)
    assert re.search(r"Level of the original -\d+ dBFS -\d+ dBFS in the clone", words)
    assert "Warning: " in words
    assert "trained on English speech to tell speakers apart. It is not the ear" in words
    for preset, value in first.presets.items():
        assert f"{preset} {value:.3f}" in words


def test_all_recordings_stand_in_a_table_that_leads_to_them(text):
    page = Tags(text)
    targets = [each["href"] for each in page.all("a")]
    assert targets == ["#main", "#voice0", "#voice1"]
    assert {"main", "voice0", "voice1"} <= {each.get("id") for _, each in page.found}


def test_the_next_step_can_be_pasted(text):
    assert "tune-encoder clone &#39;" in text
    assert re.search(r"my model&#39; \S+F2\.wav -o \S+F2\.json<", text)


def test_a_place_that_cannot_be_written_is_named(heard, listener, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"page\.html: cannot be written \(.+\); name another file with --out$"
    ):
        write_listen_page(tmp_path / "file" / "page.html", heard, listener, tmp_path, VOICE)


PROBE = """<script>
const box = (each) => { const r = each.getBoundingClientRect(); return [r.width, r.height]; };
const audio = [...document.querySelectorAll("audio")];
Promise.all(audio.map((each) => new Promise((done) => {
  if (each.readyState >= 1) done();
  each.addEventListener("loadedmetadata", done); each.addEventListener("error", done);
}))).then(() => parent.postMessage(JSON.stringify({
  width: innerWidth, wide: document.documentElement.scrollWidth,
  pictures: [...document.querySelectorAll(".pictures img, .contours, .similarities")].map(box),
  tops: [...document.querySelectorAll("#voice0 .sounds li")].map(
    (each) => each.getBoundingClientRect().top),
  seconds: audio.map((each) => each.duration),
}), "*"));
</script>"""


@needs_browser
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("width", "columns"), [(1400, 5), (400, 1)])
def test_a_browser_shows_pictures_and_plays_sounds(text, tmp_path, width, columns):
    seen, complaints = probe(text, PROBE, width, tmp_path)

    assert complaints == []
    assert seen["wide"] <= seen["width"] == width
    assert len(seen["pictures"]) == 22
    assert all(across > 40 and down > 40 for across, down in seen["pictures"])
    assert seen["tops"].count(seen["tops"][0]) == columns
    assert len(seen["seconds"]) == 10
    assert all(1 < seconds <= 10 for seconds in seen["seconds"])
