"""A server of the page in a process of its own, and searches made up for it."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.cookiejar import CookieJar
from importlib.util import find_spec

import pytest

from tests.ports import own_port
from tests.report.conftest import made_search

BROKEN = "broken"


def pytest_collection_modifyitems(items):
    if find_spec("nicegui") is None:
        for item in items:
            if "/tests/serve/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="the extra `page` is not installed"))


class Server:
    """`tune-encoder serve`, as a person starts it."""

    def __init__(self, root, port, *words):
        self.port, self.root = port, root
        command = [sys.executable, "-m", "tune_encoder", "serve", "--root", str(root)]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MPLBACKEND": "agg"},
        )
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().strip()
        assert self.link, self.process.communicate()[1]
        self.token = self.link.partition("token=")[2]
        self.base = f"http://127.0.0.1:{port}"

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self, number=signal.SIGTERM):
        """Stop it by a signal; its exit code and what it wrote to stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


@contextmanager
def serving(root, *words, port=None):
    server = Server(root, port or own_port(), *words)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def wait_for(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


SLEEPER = """
import os, sys, time
if {word!r} in sys.orig_argv:
    open({path!r}, "w").write(str(os.getpid()))
    time.sleep(600)
"""


def make_sleep(folder, monkeypatch, word):
    """Let every process sleep that has a word in its command line; where it writes its ID."""
    told = folder / "pid"
    (folder / "sitecustomize.py").write_text(SLEEPER.format(word=word, path=str(told)))
    path = os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))
    monkeypatch.setenv("PYTHONPATH", path.rstrip(os.pathsep))
    return told


@pytest.fixture(scope="package")
def root(tmp_path_factory):
    """Searches of which one is broken; not to be changed."""
    folder = tmp_path_factory.mktemp("serve") / "runs"
    made_search(folder)
    made_search(folder, name="other", fingerprint="1" * 64)
    made_search(folder, name=BROKEN)
    (folder / BROKEN / "study.db").write_bytes(b"not a database at all " * 1000)
    return folder


@pytest.fixture(scope="package")
def server(root, cache):
    with serving(root) as started:
        yield started


@pytest.fixture
def get(server):
    """Ask the server, without a cookie: (status, text, headers)."""
    return lambda path, **headers: ask(f"{server.base}{path}", **headers)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(address, jar=None, **headers):
    """The answer to a request, also to one that is refused or led on."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    handlers = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if jar is not None:
        handlers.append(urllib.request.HTTPCookieProcessor(jar))
    opener = urllib.request.build_opener(*handlers)
    try:
        answer = opener.open(urllib.request.Request(address, headers=names), timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.read().decode(), answer.headers


@pytest.fixture
def cookie(server):
    """The header with the cookie of this server."""
    _, _, headers = ask(server.link)
    return headers["Set-Cookie"].partition(";")[0]


@pytest.fixture
def jar():
    return CookieJar()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WHY_NOT = (
    "there is no Chromium to open the page in"
    if CHROMIUM is None
    else "Playwright is not installed"
    if find_spec("playwright") is None
    else ""
)
needs_browser = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture(scope="package")
def play():
    """Playwright, of which a process can have one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def chromium(play):
    browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield browser
    browser.close()


class Tab:
    """A page of the browser, with what it complained of and what it asked others for."""

    def __init__(self, browser, server, width=1400):
        self.server = server
        self.context = browser.new_context(viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _heard(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request):
        if not request.url.startswith(
            (self.server.base, "data:", "blob:", f"ws{self.server.base[4:]}")
        ):
            self.complaints.append(f"asked for {request.url}")

    def open(self, path="/"):
        if not self.context.cookies():
            self.page.goto(self.server.link)
            self.page.wait_for_url(f"{self.server.base}/")
        self.page.goto(f"{self.server.base}{path}")
        self.page.wait_for_selector("h1")
        return self.page


@pytest.fixture
def open_tab(chromium, server):
    """Open a tab of a browser of its own; all its complaints fail the test that opened it."""
    tabs = []

    def open_one(path="/", at=None, width=1400):
        tab = Tab(chromium, at or server, width)
        tabs.append(tab)
        tab.open(path)
        return tab

    yield open_one
    for tab in tabs:
        tab.context.close()
