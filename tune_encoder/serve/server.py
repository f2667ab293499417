"""The server of the page: where it listens, what it serves, and how long."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from tune_encoder.errors import ConfigError
from tune_encoder.serve.access import Access, link, read_token
from tune_encoder.serve.actions import Actions
from tune_encoder.serve.browser import opened_in_browser
from tune_encoder.serve.compare_page import add_compare_page
from tune_encoder.serve.experiment_page import add_experiment_page
from tune_encoder.serve.experiments_page import add_experiments_page
from tune_encoder.serve.files import add_files
from tune_encoder.serve.frame import add_look
from tune_encoder.serve.hearing_page import add_hearing_page
from tune_encoder.serve.own_process import end_own_processes
from tune_encoder.serve.start_page import add_start_page
from tune_encoder.serve.trial_page import add_trial_page
from tune_encoder.serve.watching import Watch
from tune_encoder.system.ports import LOOPBACK

_END_S = 2  # for open pages to be told; they connect again by themselves to the next server
_RECONNECT_S = 30.0  # a page whose connection was lost for less misses nothing
_MESSAGES = 200  # kept for it
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M1 14 5 8l3 3 6-9" '
    'fill="none" stroke="#D55E00" stroke-width="2.5"/></svg>'
)


@dataclass(frozen=True)
class Served:
    """What is served, and how."""

    root: Path
    """The folder of the experiments."""
    port: int
    is_read_only: bool = False
    """Whether the page only shows searches."""


def serve(served: Served, say: Callable[[str], None], opens: bool = False) -> None:
    """Serve the page until SIGINT, SIGTERM or SIGHUP.

    Args:
        served: What is served.
        say: Gets the link as soon as it can be opened.
        opens: Whether to open it in the browser.

    Raises:
        ConfigError: if the root is no folder, or the port is in use.
        StorageError, OSError: if the token, or the file for the browser, cannot be written.
    """
    if not served.root.is_dir():
        raise ConfigError(
            f"--root {served.root}: no such folder; name the folder of your experiments, or start "
            "a search there first"
        )
    token = read_token()
    with contextlib.closing(_listen(served.port)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(_config(build_app(served), port, token))
        address = link(port, token)
        say(address)
        with opened_in_browser(address, port) if opens else contextlib.nullcontext():
            _run(server, listener)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"--port {port}: cannot be used ({error}); choose another, or end the program that "
            "uses it"
        ) from error
    listener.listen()  # from now on a browser waits for the server instead of being refused
    return listener


def build_app(served: Served) -> FastAPI:
    """Return the pages as an application that anyone may use; `Access` guards it."""
    watch, actions = Watch(served.root), Actions(served.root, served.is_read_only)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(watch.run())
        with end_own_processes():
            yield
        task.cancel()

    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    add_look()
    add_files(app, actions)
    add_experiments_page(watch, actions)
    add_experiment_page(watch, actions)
    add_hearing_page(watch)  # before that of a trial, whose address is of the same form
    add_trial_page(watch, actions)
    add_compare_page(watch)
    add_start_page(actions)
    ui.run_with(
        app,
        title="tune-encoder",
        favicon=_ICON,
        dark=None,  # as the browser prefers
        language="en-US",
        binding_refresh_interval=None,
        reconnect_timeout=_RECONNECT_S,
        message_history_length=_MESSAGES,
        gzip_middleware_factory=None,  # on one machine it only costs time
        tailwind=False,
        show_welcome_message=False,
    )
    return app


def _config(app: FastAPI, port: int, token: str) -> uvicorn.Config:
    return uvicorn.Config(
        Access(app, port, token),
        log_level="error",
        access_log=False,  # it would have the token
        server_header=False,
        timeout_graceful_shutdown=_END_S,
        ws_ping_interval=20.0,
    )


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    # The server ends at the first two, and then raises what it got once more; of the third it does
    # not know by itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, server.handle_exit)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
