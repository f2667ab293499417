"""Recordings that pages send: received in pieces up to a limit, and kept until they are cloned."""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterable, Callable, Coroutine
from pathlib import Path

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from tune_encoder.errors import StorageError, error_line
from tune_encoder.system.files import cache_dir, make_cache_folder, remove_leftovers

MEGABYTE = 1_000_000
MAX_BYTES = 50 * MEGABYTE  # of a recording: five minutes of stereo WAV at 48 kHz, an hour of MP3
MAX_RECORDINGS = 20  # sent together
_MAX_NAME_BYTES = 200  # of 255 that a file may have, since a message quotes it
TOO_LARGE = (
    f"is over {MAX_BYTES // MEGABYTE} MB; cut out a part of a few minutes, or use "
    "`tune-encoder clone`"
)
TOO_MANY = f"at most {MAX_RECORDINGS} recordings can be sent together"
UNKNOWN = "this page is of an earlier server; load it again"

Clone = Callable[[str], Coroutine[object, object, None]]


class Refused(Exception):
    """A recording that is not taken; its text says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Inbox:
    """Where a page's recordings are kept until they have been cloned, or the page is closed."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self._folder: Path | None = None

    async def receive(self, name: str, pieces: AsyncIterable[bytes], claimed: int) -> None:
        """Write a recording; of one that is refused nothing is kept.

        Args:
            name: Its file name, from the page.
            pieces: Its content.
            claimed: How many bytes it is said to have; 0 if unknown.

        Raises:
            Refused: if it is too large, one too many, of a name that is in use, or not stored.
        """
        path = self._place(name, claimed)
        try:
            with path.open("xb") as file:
                async for piece in pieces:
                    if file.tell() + len(piece) > MAX_BYTES:
                        raise Refused(413, f"{path.name}: {TOO_LARGE}")
                    file.write(piece)
        except FileExistsError:
            raise Refused(409, f"{path.name}: sent twice; rename one of the two") from None
        except OSError as error:
            path.unlink(missing_ok=True)
            raise Refused(507, f"{path.name}: cannot be stored ({error.strerror})") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _place(self, name: str, claimed: int) -> Path:
        try:
            self._folder = self._folder or _make_folder()
        except (StorageError, OSError) as error:
            raise Refused(507, error_line(error)) from error
        path = self._folder / file_name(name)
        if claimed > MAX_BYTES:
            raise Refused(413, f"{path.name}: {TOO_LARGE}")
        if len(list(self._folder.iterdir())) >= MAX_RECORDINGS:
            raise Refused(413, TOO_MANY)
        return path

    def take(self) -> Path | None:
        """Return the folder of what was sent, which the caller removes; None if nothing was."""
        folder, self._folder = self._folder, None
        return folder

    def close(self) -> None:
        """Remove what was sent."""
        remove(self.take())


def remove(folder: Path | None) -> None:
    """Remove a folder of recordings."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def file_name(name: str) -> str:
    """Return the name under which a recording is stored: one that can be neither path nor option.

    Args:
        name: What the browser calls it.
    """
    letters = "".join(each if each.isprintable() else "_" for each in name)
    last = letters.replace("\\", "/").rpartition("/")[2].lstrip(".- ")
    stem, dot, suffix = last.rpartition(".")
    if len(last.encode()) > _MAX_NAME_BYTES:
        short = (stem or last).encode()[: _MAX_NAME_BYTES - 20].decode(errors="ignore")
        last = f"{short}{dot}{suffix[:10]}"
    return last or "recording"


def _make_folder() -> Path:
    """Make a folder that only this user can read."""
    base = cache_dir() / "serve"
    make_cache_folder(base)
    name = tempfile.mkdtemp(prefix=f".recordings.{os.getpid()}.", suffix=".partial", dir=base)
    return Path(name)


def remove_abandoned() -> None:
    """Remove the recordings of servers that were killed."""
    remove_leftovers(cache_dir() / "serve" / "recordings")


class Inboxes:
    """The inboxes of all open pages, by keys that only the pages know."""

    def __init__(self) -> None:
        self._known: dict[str, Inbox] = {}

    def add(self, inbox: Inbox) -> str:
        """Add one; returns its key."""
        key = secrets.token_urlsafe(16)
        self._known[key] = inbox
        return key

    def remove(self, key: str) -> None:
        """Remove one, with all that is in it."""
        if (inbox := self._known.pop(key, None)) is not None:
            inbox.close()

    def close(self) -> None:
        """Remove all, with all that is in them."""
        for key in list(self._known):
            self.remove(key)

    async def receive(self, key: str, name: str, request: Request) -> Response:
        """Answer a request whose body is a recording."""
        inbox = self._known.get(key)
        if inbox is None:
            return _plain(404, UNKNOWN)
        claimed = request.headers.get("content-length", "0")
        try:
            await inbox.receive(name, request.stream(), int(claimed) if claimed.isdigit() else 0)
        except Refused as error:
            return _plain(error.status, str(error))
        except ClientDisconnect:  # nobody reads the answer
            return _plain(400, "the recording was not sent to its end")
        return Response(status_code=204)

    async def clone(self, key: str, voice: str) -> Response:
        """Answer a request to clone what was sent, when that has been done."""
        inbox = self._known.get(key)
        if inbox is None:
            return _plain(404, UNKNOWN)
        await inbox.clone(voice)
        return Response(status_code=204)


def _plain(status: int, words: str) -> Response:
    return Response(words, status, media_type="text/plain")
