"""Who may use the page: whoever has the token, from a page of this server, on this machine.

The token stands in the link that `serve` prints. Opening the link sets a cookie that only this
server gets and that no script can read; the link then leads on to the page without the token.
"""

import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tune_encoder.system.files import cache_dir, make_cache_folder
from tune_encoder.system.ports import LOOPBACK

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_BYTES = 32
LOOPBACK_NAMES = {LOOPBACK, "localhost", "::1"}
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_HTML = "text/html; charset=utf-8"
_POLICY_VIOLATION = 1008  # of RFC 6455; before the handshake a server answers 403
# Vue compiles its templates in the page, which needs eval; nothing is loaded from elsewhere.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "media-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_TOKEN = "open the link that `tune-encoder serve` printed: it has the token that this page needs"
STALE = (
    "this link belongs to another or an earlier server; open the link that `tune-encoder serve` "
    "printed last"
)
WRONG_HOST = "this page is served to this machine only; open it as 127.0.0.1 or localhost"
WRONG_ORIGIN = "the request comes from another page; open this one in a tab of its own"


def token_path() -> Path:
    """Return the file of this user's token, which lasts, so that open pages outlive a restart."""
    return cache_dir() / "serve" / "token"


def read_token() -> str:
    """Return the token, and make one if there is none that only this user can read.

    Raises:
        StorageError: if it cannot be written.
    """
    path = token_path()
    make_cache_folder(path.parent)
    try:
        known = path.read_text(encoding="ascii") if _is_private(path) else ""
    except (OSError, ValueError):
        known = ""
    return known if _TOKEN.fullmatch(known) else _new_token(path)


def _is_private(path: Path) -> bool:
    found = path.stat()
    return found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077 == 0


def _new_token(path: Path) -> str:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    write_private(path, token)
    return token


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    partial.replace(path)


def link(port: int, token: str) -> str:
    """Return the link that opens the page."""
    return f"http://{LOOPBACK}:{port}/?token={token}"


class Access:
    """Passes on the requests and websockets that may use the page, and refuses all others."""

    def __init__(self, app: App, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._cookie = f"tune_encoder_{port}"  # cookies are not told apart by port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in _pairs(scope)}
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        refusal = _check_source(headers)
        if refusal:
            await _refuse(scope, send, refusal)
        elif scope["type"] == "http" and self._fits(given):
            await self._enter(scope, send)
        elif any(map(self._fits, self._cookies_of(headers))):
            await self._app(scope, receive, _with_headers(send))
        else:
            await _refuse(scope, send, STALE if given else NO_TOKEN)

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _cookies_of(self, headers: dict[str, str]) -> Iterable[str]:
        """Return the values of this server's cookie, whatever those of other ports look like."""
        for pair in headers.get("cookie", "").split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == self._cookie:
                yield value.strip()

    async def _enter(self, scope: Scope, send: Send) -> None:
        """Set the cookie, and lead on to the address without the token.

        By a script: if the link stands on the page of another site, the browser sends a strict
        cookie only to what this page leads to, not to where a redirect does.
        """
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        # Of the path alone: an address that begins with // or /\\ would lead to another host.
        place = quote("/" + scope["path"].lstrip("/"))
        script = f"<!doctype html><script>location.replace({json.dumps(place)})</script>\n"
        await _answer(send, 200, script, {"Content-Type": _HTML, "Set-Cookie": cookie})


def _pairs(scope: Scope) -> Iterable[tuple[bytes, bytes]]:
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return pairs


def _check_source(headers: dict[str, str]) -> str:
    """Return why a request is refused by the host it names, or by the page it comes from."""
    host = headers.get("host", "")
    if _host_name(f"//{host}") not in LOOPBACK_NAMES:  # another name may lead here: DNS rebinding
        return WRONG_HOST
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return WRONG_ORIGIN
    return ""


def _host_name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


async def _refuse(scope: Scope, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": why[:120]})
        return
    await _answer(send, 403, f"{why}\n", {})


async def _answer(send: Send, status: int, text: str, headers: dict[str, str]) -> None:
    body = text.encode()
    own = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
    # A link with a token, or a refusal, must not be answered from a cache.
    all_headers = {**own, **_HEADERS, "Cache-Control": "no-store", **headers}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(all_headers)})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _with_headers(send: Send) -> Send:
    async def forward(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_encoded(_HEADERS)]
        await send(message)

    return forward
