"""Files of an experiment to open or download: its report, and its model as a zip archive."""

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from tune_encoder.errors import StorageError, TuneEncoderError, error_line
from tune_encoder.experiment.folder import open_experiment
from tune_encoder.experiment.run import EXPORTED
from tune_encoder.serve.actions import Actions
from tune_encoder.system.manifest import PROVENANCE, read_manifest

REPORT, MODEL = "report.html", "model.zip"
_CHUNK = 2**18
# A report runs its own scripts, in an origin of its own: they cannot ask this server for anything.
_SANDBOX = {"Content-Security-Policy": "sandbox allow-scripts allow-downloads allow-popups"}


def file_address(name: str, file: str) -> str:
    """Return the address of a file of an experiment."""
    return f"/files/{quote(name)}/{file}"


def add_files(app: FastAPI, actions: Actions) -> None:
    """Add /files/NAME/report.html and /files/NAME/model.zip."""

    @app.get("/files/{name}/{file}")
    def send(name: str, file: str) -> Response:
        try:
            actions.check_allowed()
            return _answer(open_experiment(actions.root, name).path, file)
        except TuneEncoderError as error:
            status = 403 if actions.is_read_only else 404
            return PlainTextResponse(f"{error_line(error)}\n", status)


def _answer(path: Path, file: str) -> Response:
    if file == REPORT and (path / REPORT).is_file():
        return FileResponse(path / REPORT, headers=_SANDBOX)
    if file == MODEL:
        name = f'attachment; filename="{path.name}.zip"'
        archive = zip_folder(path / EXPORTED, path.name)
        return StreamingResponse(
            archive, media_type="application/zip", headers={"Content-Disposition": name}
        )
    raise StorageError(f"{path / file}: no such file; make it on the page of the experiment")


def zip_folder(folder: Path, top: str) -> Iterator[bytes]:
    """Return the parts of a zip archive of a model, which are made while they are sent.

    All files that the export lists are in it, and no others; a link may lead out of the folder.

    Args:
        folder: The folder of the model.
        top: The folder in the archive.

    Raises:
        StorageError: if there is no model, or not all of it.
    """
    if not (folder / PROVENANCE).is_file():
        raise StorageError(f"{folder}: no model; export it first")
    opened = ExitStack()
    try:  # all at once, so that a new export while it is sent does not mix with it
        files = _open_files(folder, opened)
    except OSError as error:
        opened.close()
        raise StorageError(f"{folder}: cannot be read ({error}); try again") from error
    return _zipped(files, top, opened)


def _open_files(folder: Path, opened: ExitStack) -> dict[str, BinaryIO]:
    """Open all files that the export lists, in one and the same folder."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        listed = read_manifest(folder)
        if not os.path.samestat(os.fstat(place), folder.stat()):
            raise OSError("it is being exported anew")
        return {name: opened.enter_context(_open(name, place)) for name in (PROVENANCE, *listed)}
    finally:
        os.close(place)


def _open(name: str, place: int) -> BinaryIO:
    """Open a file of a folder; a pipe would be waited for."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(name, flags, dir_fd=place)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{name} is not a file")
    return os.fdopen(descriptor, "rb")


class _Sink:
    """Takes what is written to an archive, which then need not be on the disk."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self.parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        found = b"".join(self.parts)
        self.parts.clear()
        return found


def _zipped(files: dict[str, BinaryIO], top: str, opened: ExitStack) -> Iterator[bytes]:
    sink = _Sink()
    with opened, zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]
        for name, file in files.items():
            # Weights do not get smaller.
            with archive.open(f"{top}/{name}", "w", force_zip64=True) as entry:
                while part := file.read(_CHUNK):
                    entry.write(part)
                    yield sink.take()
        yield sink.take()
    yield sink.take()
