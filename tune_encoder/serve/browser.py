"""Opening the page in the browser, without its link in a command line that all users can see."""

import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

from tune_encoder.serve.access import write_private
from tune_encoder.system.files import cache_dir, make_cache_folder


@contextmanager
def opened_in_browser(link: str, port: int) -> Iterator[None]:
    """Open the link by a file that leads on to it, which is removed when the block ends.

    Raises:
        StorageError, OSError: if the file cannot be written.
    """
    path = cache_dir() / "serve" / f"open-{port}.html"
    make_cache_folder(path.parent)
    write_private(path, f'<!doctype html><meta http-equiv="refresh" content="0;url={link}">\n')
    # A browser in the terminal keeps the thread until it is closed.
    threading.Thread(target=webbrowser.open, args=[path.absolute().as_uri()], daemon=True).start()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
