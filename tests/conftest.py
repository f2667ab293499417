import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from tune_encoder.config import TrainConfig
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import find_samples, read_sample
from tune_encoder.data.voice_bank import bank_of_clips, write_bank
from tune_encoder.tuning.cluster.ray_settings import set_environment

# Before torch is imported: with one thread a tensor of a few kilobytes is no slower, and on a
# busy machine many times faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")
set_environment()  # before a test file imports Ray


# A shell makes what it starts in the background, and all that this starts, ignore Ctrl-C; nohup
# makes it ignore the end of the terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items):
    """Put files with slow tests first, or one process ends long before the other; skip some."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # stable: a file keeps its order
    if find_spec("resemblyzer") is None:
        why = "no speaker encoder here; pip install --no-deps resemblyzer==0.1.4"
        for item in items:
            if item.get_closest_marker("weights"):
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of this test session, so that no test meets ~/.cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_ENCODER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A demo set of 24, 8 and 8 voices; copy it before changing it."""
    folder = tmp_path_factory.mktemp("data") / "demo"
    # One clip per voice: many tests count clips, or want a closed form that beats the mean voice.
    make_demo(folder, voices=24, val_voices=8, test_voices=8, seed=3, clips_per_voice=1)
    return folder


@pytest.fixture(scope="session")
def packed(data_dir, cache):
    return open_pack(pack_data(data_dir, TrainConfig()))


@pytest.fixture(scope="session")
def model_dir(packed, tmp_path_factory):
    """A model as export writes it, with ONNX files and the training voices; copy to change it."""
    # Making it takes ten seconds, so the first of pytest's processes makes it for all.
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "model_dir"
    with (shared / "model_dir.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make_model(tmp_path_factory.mktemp("model"), packed).rename(folder)
    return folder


def make_model(folder, packed):
    from tests.fabricate import SMALL_ENCODER, random_encoder, write_model
    from tune_encoder.model.onnx.writing import write_onnx

    encoder = random_encoder(SMALL_ENCODER, packed.statistics)
    write_model(folder, SMALL_ENCODER, encoder.state_dict())
    write_onnx(folder, encoder, SMALL_ENCODER, epoch=1, int8=True)
    write_bank(folder, bank_of_clips(packed.train.voices, packed.train.styles), epoch=1)
    return folder


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """The folder of the stand-in models of Supertonic."""
    from tests.speech.stand_in import write_stand_in

    return write_stand_in(tmp_path_factory.mktemp("stand_in") / "models")


@pytest.fixture(scope="session")
def stand_in_model(stand_in, cache, tmp_path_factory):
    """An untrained model, whose clones all have the mean voice of the stand-in models."""
    from tests.fabricate import SMALL_ENCODER, write_model
    from tests.speech.conftest import small, sources
    from tune_encoder.model.encoder import build_encoder
    from tune_encoder.speech.generating import generate

    folder = tmp_path_factory.mktemp("model")
    generate(folder / "set", sources(stand_in), small(langs="en"), 1)
    packed = open_pack(pack_data(folder / "set", SMALL_ENCODER))
    encoder = build_encoder(SMALL_ENCODER, packed.statistics)
    model = write_model(folder, SMALL_ENCODER, encoder.state_dict())
    write_bank(model, bank_of_clips(packed.train.voices, packed.train.styles), epoch=1)
    return model


@pytest.fixture(scope="session")
def spoken_set(stand_in, tmp_path_factory):
    """A data set that the stand-in models speak, of 24, 3 and 3 voices."""
    from tests.speech.conftest import small, sources
    from tune_encoder.speech.generating import generate

    folder = tmp_path_factory.mktemp("spoken") / "set"
    generate(folder, sources(stand_in), small(langs="en", voices=30), 1)
    return folder


@pytest.fixture(scope="session")
def spoken(stand_in, tmp_path_factory):
    """Recordings of two presets, F2.wav and M4.wav, that say what no listening test does."""
    from tests.fabricate import write_wav
    from tests.speech.stand_in import preset_styles
    from tune_encoder.speech.engine import Engine

    folder, engine = tmp_path_factory.mktemp("spoken"), Engine("supertonic-3", stand_in)
    text = "Two coffees, one with milk, and a slice of that lemon cake."
    for name in ("F2", "M4"):
        audio = engine.speak(preset_styles()[name], text, "en", steps=8, speed=1.0, seed=5)
        write_wav(folder / f"{name}.wav", audio, engine.sample_rate)
    return folder


@pytest.fixture(scope="session")
def voices(data_dir):
    """Two demo voices at 24 kHz."""
    return [read_sample(path).audio for path in find_samples(data_dir / "val")[:2]]


@contextmanager
def no_more_files():
    """While the block runs, this process can open no further file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk for so many files and folders; only root can."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(n_files):
        options = f"size=1g,nr_inodes={n_files + 1}"  # one is the folder itself
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("cannot mount a disk here")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True)


# --- an S3 server of this machine ----------------------------------------------------------------

KEY, SECRET = "canary-key", "canary-secret"


class S3Server:
    """A process of its own, so that it can die."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        place = ["-H", "127.0.0.1", "-p", str(port)]
        self.process = subprocess.Popen([sys.executable, "-m", "moto.server", *place], **quiet)
        self.url = f"http://127.0.0.1:{port}"
        while not self._answers():
            assert self.process.poll() is None
            time.sleep(0.1)

    def _answers(self):
        try:
            self._ask("GET", "/moto-api/data.json")
        except URLError:
            return False
        return True

    def make_bucket(self):
        """Make an empty bucket; returns its name."""
        name = f"voices-{uuid.uuid4().hex[:8]}"
        self._ask("PUT", f"/{name}")
        return name

    def ask_for_keys(self, wanted=True):
        """Deny everybody, as it knows no key, or nobody."""
        self._ask("POST", "/moto-api/reset-auth", b"0" if wanted else b"inf")

    def _ask(self, method, path, body=None):
        headers = {"Content-Type": "text/plain"}
        urlopen(Request(self.url + path, body, headers, method=method)).close()

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def s3_server():
    server = S3Server()
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server):
    """An S3 server that the environment names."""
    with named_by_environment(s3_server):
        yield s3_server


@pytest.fixture(scope="module")
def s3_module(s3_server):
    """The same for a fixture that several tests share."""
    with named_by_environment(s3_server):
        yield s3_server


@contextmanager
def named_by_environment(server):
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield
