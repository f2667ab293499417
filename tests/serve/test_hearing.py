"""Hearing a model, and cloning with it, in Chromium and without."""

import asyncio
import http.client
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import soundfile

from tests.fabricate import write_wav
from tests.report.conftest import made_search
from tests.serve.conftest import CHROMIUM, Tab, ask, needs_browser, serving
from tune_encoder.cli import main
from tune_encoder.data.pack_info import pack_folder
from tune_encoder.data.voice_bank import read_bank
from tune_encoder.serve.recordings import (
    MAX_BYTES,
    MAX_RECORDINGS,
    TOO_LARGE,
    Inbox,
    Inboxes,
    Refused,
    file_name,
    remove_abandoned,
)
from tune_encoder.system.files import cache_dir
from tune_encoder.system.manifest import MANIFEST, PROVENANCE

pytestmark = [pytest.mark.timeout(300)]
LONG_MS = 120_000  # a model is loaded on a busy machine
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def searched(tmp_path_factory, data_dir, packed, model_dir):
    """A search with an exported model and its data, and one without a model."""
    root = tmp_path_factory.mktemp("hearing") / "runs"
    made = made_search(root, data_dir=data_dir, fingerprint=packed.info["fingerprint"])
    model = shutil.copytree(model_dir, made.path / "best")
    (model / MANIFEST).rename(model / PROVENANCE)  # as in an export
    made_search(root, name="bare")
    return root


@pytest.fixture(scope="module")
def hearing(searched, cache):
    with serving(searched, "--read-only") as started:
        yield started


@pytest.fixture(scope="module")
def microphone(play):
    """A Chromium whose microphone beeps."""
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fake])
    yield browser
    browser.close()


@pytest.fixture
def tab(microphone, hearing):
    opened = Tab(microphone, hearing)
    opened.context.grant_permissions(["microphone"])
    opened.open("/e/mine/hearing")
    yield opened
    opened.context.close()


@pytest.fixture
def recording(voices, tmp_path):
    return write_wav(tmp_path / f"voice {MARKUP.replace('/', '')}.wav", np.tile(voices[0], 3))


def send(tab, *paths, voice=""):
    """Choose recordings and clone them; the block with what came of them."""
    page = tab.page
    page.locator("[data-hearing=files]").set_input_files([str(path) for path in paths])
    page.locator("[data-hearing=voice]").fill(voice)
    before = page.locator("[data-hearing=cloned]").count()
    page.get_by_role("button", name="Clone").click()
    blocks = page.locator("[data-hearing=cloned]")
    blocks.nth(before).wait_for(timeout=LONG_MS)
    return blocks.first


def downloaded(tab, block):
    with tab.page.expect_download(timeout=LONG_MS) as got:
        block.get_by_role("button", name="Download").first.click()
    return got.value.suggested_filename, got.value.path().read_bytes()


def left_over():
    return list((cache_dir() / "serve").glob(".recordings.*"))


def clone_by_command(*words):
    with pytest.raises(SystemExit) as ended:
        main(["clone", *map(str, words)])
    return ended.value.code


def without_date(content):
    return re.sub(rb'"extracted_at": "[^"]*"', b"", content)


@needs_browser
def test_an_uploaded_recording_gets_the_style_that_the_command_writes(
    tab, searched, recording, tmp_path, capsys
):
    block = send(tab, recording)

    assert clone_by_command(searched / "mine" / "best", recording, "-o", tmp_path / "out") == 0
    name, content = downloaded(tab, block)
    assert name.startswith("voice ")
    written = tmp_path / "out" / f"{recording.stem}.json"
    assert without_date(content) == without_date(written.read_bytes())
    said = block.inner_text()
    told = capsys.readouterr().out.splitlines()
    lines = [line.strip() for line in told if "wrote" not in line and "warning" not in line]
    assert len(lines) == 3
    assert all(line in said for line in lines)
    bank = read_bank(searched / "mine" / "best")
    assert bank is not None
    nearest = [row.split() for row in block.locator("tbody tr").all_inner_texts()]
    assert nearest[0][0] in lines[1]
    assert {name for name, _ in nearest} <= {*bank.names}
    distances = [float(distance) for _, distance in nearest]
    assert len(distances) == 5
    assert distances == sorted(distances)
    assert block.locator("h3").inner_text() == recording.stem
    assert tab.page.locator("main img[src=x]").count() == 0
    assert left_over() == []
    assert tab.complaints == []


@needs_browser
def test_what_makes_a_style_less_reliable_is_said_and_no_audio_refused(tab, voices, tmp_path):
    loud = write_wav(tmp_path / "loud.wav", np.clip(40 * voices[0][:48000], -1, 1))
    (tmp_path / "notes.txt").write_text("not a sound")

    said = send(tab, loud, tmp_path / "notes.txt").inner_text()

    assert re.search(r"warning: loud\.wav: is clipped, .*% of its samples; ", said)
    assert "warning: loud.wav: 2.0 s of sound; use at least 3 s for a more reliable style" in said
    assert "notes.txt: not readable as audio (" in said
    assert "; export it again as WAV" in said
    assert left_over() == []
    assert tab.complaints == []


@needs_browser
def test_recordings_of_a_speaker_make_one_style(tab, voices, tmp_path):
    first = write_wav(tmp_path / "a.wav", np.tile(voices[0], 3))
    second = tmp_path / "b.ogg"
    soundfile.write(second, np.tile(voices[0], 2), 24000, format="OGG", subtype="VORBIS")

    block = send(tab, first, second, voice="Ada")

    assert "Ada: 2 of 2 recordings, " in block.inner_text()
    name, content = downloaded(tab, block)
    assert name == "Ada.json"
    assert json.loads(content)["metadata"]["source_files"] == ["a.wav", "b.ogg"]
    assert "--voice '../x': is no file name" in send(tab, first, voice="../x").inner_text()


@pytest.mark.slow
@needs_browser
def test_a_voice_from_the_microphone_gets_a_style(tab):
    page = tab.page
    page.get_by_role("button", name="Record", exact=True).click()
    page.get_by_text("Recording, 4 s ...").wait_for(timeout=LONG_MS)
    page.get_by_role("button", name="Stop").click()

    block = page.locator("[data-hearing=cloned]")
    block.wait_for(timeout=LONG_MS)
    assert re.search(r"microphone\.wav: [345]\.\d s, ", block.inner_text())
    name, content = downloaded(tab, block)
    assert name == "microphone.json"
    assert json.loads(content)["style_ttl"]["dims"] == [1, 50, 256]
    assert page.locator("[data-hearing=played]").evaluate("(each) => each.src").startswith("blob:")
    assert tab.complaints == []


@needs_browser
def test_the_best_and_the_worst_voices_are_heard_beside_the_baselines(tab, packed, searched):
    page = tab.page
    place = page.locator("[data-hearing=voices]")
    place.locator("figure").first.wait_for(timeout=LONG_MS)

    assert place.locator("h3").all_inner_texts() == ["Best", "Worst"]
    names = place.locator("figure .name").all_inner_texts()
    assert sorted(names) == sorted(set(packed.test.voices))
    said = place.locator("figcaption").all_inner_texts()
    pattern = (
        r"skill (-?\d+\.\d+)\nthe nearest known voice in its place: -?\d.*\nnearest voice voice_"
    )
    found = [re.search(pattern, each) for each in said]
    skills = [float(each[1]) for each in found if each]
    assert len(skills) == 8
    assert skills == sorted(skills, reverse=True)
    rows = place.locator("tbody tr").all_inner_texts()
    assert {row.split("\n")[0] for row in rows} >= {"the exported model", "mean voice", "ridge"}
    audio = place.locator("audio").first
    audio.evaluate("(each) => { each.preload = 'auto'; each.load(); }")
    page.wait_for_function("(each) => each.duration > 0.5", arg=audio.element_handle())
    assert tab.complaints == []


@needs_browser
def test_a_search_without_a_model_says_how_to_export_it(tab, searched):
    tab.open("/e/bare/hearing")

    assert tab.page.locator(".problem").all_inner_texts() == [
        "bare: has no exported model to hear; make one with `tune-encoder export bare --root "
        f"{searched}` and load this page again"
    ]
    assert tab.page.get_by_role("button", name="Clone").count() == 0


@needs_browser
def test_a_large_recording_is_refused_in_the_page_before_it_is_sent(tab, tmp_path):
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    sent = []
    tab.page.on("request", lambda request: sent.append(request.url))
    tab.page.locator("[data-hearing=files]").set_input_files(str(large))
    tab.page.get_by_role("button", name="Clone").click()

    tab.page.get_by_text(f"large.wav: {TOO_LARGE}").wait_for(timeout=LONG_MS)
    assert not any("/recording" in url for url in sent)


@needs_browser
def test_the_page_is_no_wider_than_a_phone(tab):
    tab.page.set_viewport_size({"width": 400, "height": 900})
    tab.page.locator("[data-hearing=voices] figure").first.wait_for(timeout=LONG_MS)

    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400


# --- what is sent without a browser --------------------------------------------------------------


class Sender:
    """Sends to the inbox of an open page."""

    def __init__(self, tab):
        key = tab.page.locator("[data-hearing=place]").get_attribute("data-key")
        self.server, self.path = tab.server, f"/hearing/{key}/recording?name="
        _, _, headers = ask(self.server.link)
        self.cookie = headers["Set-Cookie"].partition(";")[0]

    def send(self, name, content, **headers):
        """The status and the words of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.putrequest("POST", self.path + name)
        for header, value in {"Cookie": self.cookie, **headers}.items():
            connection.putheader(header.replace("_", "-"), value)
        connection.endheaders()
        try:
            for piece in content:
                connection.send(piece)
        except OSError:  # it has answered, and reads no more
            pass
        with closing(connection), connection.getresponse() as answer:
            return answer.status, answer.read().decode()


@needs_browser
def test_two_gigabytes_are_refused_before_and_while_they_are_sent(tab):
    sender = Sender(tab)

    said = sender.send("big.wav", [b"x" * 1000], Content_Length=str(2 * 10**9))
    assert said == (413, f"big.wav: {TOO_LARGE}")
    megabyte = b"%x\r\n%b\r\n" % (2**20, bytes(2**20))
    pieces = (megabyte for _ in range(2000))
    said = sender.send("big.wav", pieces, Transfer_Encoding="chunked")
    assert said == (413, f"big.wav: {TOO_LARGE}")
    (folder,) = left_over()
    assert list(folder.iterdir()) == []


@needs_browser
def test_recordings_are_refused_that_are_too_many_or_sent_twice_or_to_no_page(tab):
    sender = Sender(tab)
    for number in range(MAX_RECORDINGS):
        assert sender.send(f"{number}.wav", [b"x"], Content_Length="1") == (204, "")

    said = sender.send("more.wav", [b"x"], Content_Length="1")
    assert said == (413, f"at most {MAX_RECORDINGS} recordings can be sent together")
    sender.path = "/hearing/nobody/recording?name="
    said = sender.send("a.wav", [b"x"], Content_Length="1")
    assert said == (404, "this page is of an earlier server; load it again")
    sender.cookie = ""
    assert sender.send("a.wav", [b"x"], Content_Length="1")[0] == 403


@needs_browser
def test_a_recording_sent_twice_is_refused(tab):
    sender = Sender(tab)

    assert sender.send("a.wav", [b"x"], Content_Length="1") == (204, "")
    said = sender.send("a.wav", [b"y"], Content_Length="1")
    assert said == (409, "a.wav: sent twice; rename one of the two")


async def _clones_nothing(_):
    pass


async def _pieces(*pieces):
    for piece in pieces:
        yield piece


def test_what_was_sent_goes_with_its_page_and_what_a_killed_server_left_with_the_next(cache):
    killed = cache_dir() / "serve" / ".recordings.999999999.abcdefgh.partial"
    killed.mkdir(parents=True)
    inboxes, inbox = Inboxes(), Inbox(_clones_nothing)
    key = inboxes.add(inbox)
    before = set(left_over()) - {killed}
    remove_abandoned()

    with ThreadPoolExecutor(1) as pool:  # Playwright has a loop in this thread
        received = inbox.receive("a.wav", _pieces(b"one", b"two"), claimed=0)
        pool.submit(asyncio.run, received).result()

    (folder,) = set(left_over()) - before
    assert not killed.exists()
    assert (folder / "a.wav").read_bytes() == b"onetwo"
    assert folder.stat().st_mode & 0o077 == 0
    inboxes.remove(key)
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_said_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path / "cache"))
    received = Inbox(_clones_nothing).receive("a.wav", _pieces(b"one"), claimed=0)

    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(Refused, match=r"cache/serve: .*") as refused,
    ):
        pool.submit(asyncio.run, received).result()
    assert refused.value.status == 507
    assert str(refused.value).count("\n") == 0


@needs_browser
def test_what_was_sent_goes_with_its_server(searched, microphone, cache):
    with serving(searched) as own:
        tab = Tab(microphone, own)
        with closing(tab.context):
            tab.open("/e/bare/hearing")
            tab.open("/e/mine/hearing")
            before = set(left_over())
            assert Sender(tab).send("a.wav", [b"x"], Content_Length="1") == (204, "")
            (folder,) = set(left_over()) - before
            assert own.stop() == (0, "")
        assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a.wav", "a.wav"),
        ("../../etc/passwd", "passwd"),
        ("C:\\music\\a.wav", "a.wav"),
        ("..", "recording"),
        ("", "recording"),
        ("-o.wav", "o.wav"),
        ("a\0b\n.wav", "a_b_.wav"),
        pytest.param(f"{'é' * 300}.wav", f"{'é' * 90}.wav", id="long"),
    ],
)
def test_names_from_a_browser_lead_to_no_other_file(name, stored):
    assert file_name(name) == stored


def test_data_that_is_gone_leaves_the_scores(searched, tmp_path, packed, data_dir):
    """The pack is enough for them; only the sound is missing."""
    from tune_encoder.serve.best_voices import _hear

    made = made_search(tmp_path, data_dir="/gone", fingerprint=packed.info["fingerprint"])
    shutil.copytree(searched / "mine" / "best", made.path / "best")
    assert pack_folder(packed.info["fingerprint"], made.space().base_config()).exists()

    heard = _hear(made.path)

    assert heard["note"] == "/gone: the recordings are missing, so there is no audio"
    assert [clip["sound"] for _, clips in heard["groups"] for clip in clips] == [""] * 8
    assert heard["trained_on"] == ""
    provenance = made.path / "best" / PROVENANCE
    data = {"fingerprint": packed.info["fingerprint"]}
    content = {**json.loads(provenance.read_text()), "trained_on": ["train", "val"], "data": data}
    provenance.write_text(json.dumps(content))
    told = "the model was trained on train and val, the baselines here on train alone"
    assert _hear(made.path)["trained_on"] == told
