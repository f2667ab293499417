"""Who gets in, over HTTP and websockets, without a browser."""

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.serve.conftest import ask, make_sleep, needs_browser, serving, wait_for
from tune_encoder.cli import main
from tune_encoder.serve import access

SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def handshake(server, **headers):
    """The status of the answer to the request for a websocket."""
    names = {"Host": f"127.0.0.1:{server.port}", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in names.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as line:
        line.sendall(f"GET {SOCKET} HTTP/1.1\r\n{lines}{UPGRADE}\r\n".encode())
        return int(line.recv(1000).split()[1])


def led_to(text):
    start, place, end = text.split('"')
    assert (start, end) == ("<!doctype html><script>location.replace(", ")</script>\n")
    return place


def test_the_link_sets_a_cookie_that_opens_the_page(server):
    status, text, headers = ask(server.link)
    cookie = headers["Set-Cookie"]

    assert (status, led_to(text)) == (200, "/")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert server.token not in text
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    status, text, headers = ask(server.base, Cookie=cookie.partition(";")[0])
    assert status == 200
    assert "Experiments - tune-encoder" in text
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_cookies_of_other_programs_on_this_machine_lock_nobody_out(get, cookie):
    for others in ('a={"x":1}', "a b=c", "=", f"{cookie[:-1]}", "\xe9=1"):
        assert get("/", Cookie=f"{others}; {cookie}; b=[2]")[0] == 200


@needs_browser
def test_the_link_is_opened_from_a_page_of_another_site(server, chromium):
    context = chromium.new_context()
    with closing(context):
        page = context.new_page()
        page.route(
            "http://notebook.example/",
            lambda route: route.fulfill(
                content_type="text/html", body=f'<a href="{server.link}">open</a>'
            ),
        )
        page.goto("http://notebook.example/")
        page.get_by_text("open").click()
        page.wait_for_selector("h1", timeout=60_000)

        assert page.url == f"{server.base}/"


@pytest.mark.parametrize("path", ["/", "/e/mine", "/e/mine/0", "/compare?name=mine", SOCKET])
def test_nothing_is_served_without_the_token(get, path):
    status, text, _ = get(path)

    assert (status, text) == (403, f"{access.NO_TOKEN}\n")


@pytest.mark.parametrize("token", ["x", "", "%00", "A" * 43])
def test_a_wrong_or_stale_link_is_refused_in_one_line(get, token):
    status, text, headers = get(f"/?token={token}")

    assert status == 403
    assert text == f"{access.STALE if token else access.NO_TOKEN}\n"
    assert "Set-Cookie" not in headers


def test_a_wrong_cookie_is_refused(get, server):
    status, text, _ = get("/", Cookie=f"tune_encoder_{server.port}=wrong")

    assert (status, text) == (403, f"{access.NO_TOKEN}\n")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "192.168.0.1", "["])
def test_another_host_name_is_refused_also_with_the_token(get, cookie, host):
    status, text, _ = get("/", Host=host, Cookie=cookie)

    assert (status, text) == (403, f"{access.WRONG_HOST}\n")


def test_localhost_is_this_machine(get, server, cookie):
    assert get("/", Host=f"localhost:{server.port}", Cookie=cookie)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1"])
def test_a_request_from_another_page_is_refused(get, cookie, origin):
    status, text, _ = get("/", Origin=origin, Cookie=cookie)

    assert (status, text) == (403, f"{access.WRONG_ORIGIN}\n")


def test_websockets_need_the_cookie_the_host_and_the_origin(server, cookie):
    own = {"Cookie": cookie, "Origin": server.base}

    assert handshake(server, **own) == 101
    assert handshake(server, Origin=server.base) == 403
    assert handshake(server, Cookie="tune_encoder=1", Origin=server.base) == 403
    assert handshake(server, **{**own, "Origin": "http://evil.example"}) == 403
    assert handshake(server, **{**own, "Host": "evil.example"}) == 403


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("//evil.example/", "/evil.example/"),
        ("/%5Cevil.example/", "/%5Cevil.example/"),
        ("/%22)</script>%3Cb%3E", "/%22%29%3C/script%3E%3Cb%3E"),
        ("/e/%C3%A9", "/e/%C3%A9"),
    ],
)
def test_the_link_leads_to_no_other_host(server, path, place):
    _, text, _ = ask(f"{server.base}{path}?token={server.token}")

    assert led_to(text) == place


def test_it_listens_on_loopback_alone(server):
    others = {str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), server.port)}
    for address in [*others, "127.0.0.2"]:
        if address in ("127.0.0.1", "::1"):
            continue
        with pytest.raises(OSError):  # noqa: PT011 - refused, or no route
            socket.create_connection((address, server.port), timeout=5)


def test_only_its_user_can_read_the_token_and_a_restart_keeps_it(server):
    path = access.token_path()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == server.token == access.read_token()


def test_a_token_that_others_could_read_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path))
    known = access.read_token()
    access.token_path().chmod(0o644)

    assert access.read_token() != known
    assert stat.S_IMODE(access.token_path().stat().st_mode) == 0o600


def refused(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *map(str, words)])
    return ended.value.code, capsys.readouterr().err


def test_a_port_that_is_taken_is_named(server, root, capsys):
    code, said = refused(capsys, "--root", root, "--port", server.port)

    assert code == 2
    assert f"--port {server.port}: cannot be used (" in said
    assert "choose another, or end the program that uses it" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("port", [-1, 70000])
def test_a_port_that_is_none_is_named(root, capsys, port):
    code, said = refused(capsys, "--root", root, "--port", port)

    assert code == 2
    assert f"--port {port}: cannot be used (" in said


def test_a_root_that_is_not_there_is_named(tmp_path, capsys):
    code, said = refused(capsys, "--root", tmp_path / "nowhere")

    assert code == 2
    assert f"--root {tmp_path}/nowhere: no such folder; name the folder of your" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_quietly(root, number):
    with serving(root) as own:
        assert ask(own.link)[0] == 200
        assert own.stop(number) == (0, "")


def test_a_closed_terminal_does_not_end_it_under_nohup(root):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child inherits it
    try:
        with serving(root) as own:
            assert ask(own.link)[0] == 200
            own.process.send_signal(signal.SIGHUP)
            assert ask(own.link)[0] == 200
            with pytest.raises(subprocess.TimeoutExpired):
                own.process.wait(timeout=3)
            assert own.stop() == (0, "")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_browser_gets_the_link_in_a_file_that_only_its_user_can_read(
    root, tmp_path, monkeypatch
):
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$@" > {opened}.partial; mv {opened}.partial {opened}\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with serving(root, "--open") as own:
        wait_for(opened.exists)
        address = opened.read_text().strip()
        path = Path(unquote(urlsplit(address).path))

        assert address.startswith("file:///")
        assert own.token not in address
        assert f"url={own.link}" in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        own.stop()
    assert not path.exists()


def test_a_signal_ends_it_with_the_process_that_it_waits_for(root, tmp_path, monkeypatch):
    told = make_sleep(tmp_path, monkeypatch, "tune_encoder.serve.rating")
    with serving(root) as own:
        cookie = ask(own.link)[2]["Set-Cookie"].partition(";")[0]
        assert ask(f"{own.base}/e/mine", Cookie=cookie)[0] == 200
        wait_for(lambda: told.exists() and told.read_text())

        assert own.stop() == (0, "")  # `stop` waits for less time than the process sleeps
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_it_starts_without_torch_ray_and_what_draws_figures():
    code = (
        "import sys, tune_encoder.serve.server; "
        "print([n for n in ('torch', 'ray', 'optuna', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_looking_at_an_experiment_loads_neither_torch_nor_ray(root):
    code = """
import asyncio, sys
from pathlib import Path
from tune_encoder.serve.watching import Watch
watched = asyncio.run(Watch(Path(sys.argv[1])).open("mine"))
asyncio.run(watched.rate())
print(sorted(watched.charts), [n for n in ("torch", "ray") if n in sys.modules])
"""
    command = [sys.executable, "-c", code, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.endswith("] []\n")
    assert "'curves'" in done.stdout
