"""A page as a parser and as a browser have it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ADDRESSES = ("src", "href", "action", "data", "poster", "srcset", "xlink:href")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium to open the page in"
)


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    def addresses(self):
        """What the page refers to."""
        found = [each.get(name) for _, each in self.found for name in ADDRESSES]
        return [address for address in found if address]


# A window of Chromium is never narrower than 500 pixels, a frame within it is.
FRAME = """<!DOCTYPE html><html><body><script>
addEventListener("message", (event) => { document.body.dataset.probe = event.data; });
</script><iframe src="copy.html" width="WIDTH" height="900" style="border: 0"></iframe></body>
"""


def browse(path):
    """The page as the browser has it after its script ran, and what it complained of."""
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        *("--enable-logging=stderr", "--window-size=1500,900", "--virtual-time-budget=5000"),
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def probe(text, script, width, folder):
    """What a script in a copy of the page, without its policy, posts to its parent as JSON.

    The page stands in a frame of that width; also what the browser complained of.
    """
    copy = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", f"{script}</body>")
    (folder / "copy.html").write_text(copy)
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    page, complaints = browse(folder / "frame.html")
    (found,) = [each["data-probe"] for each in Tags(page).all("body")]
    return json.loads(found), complaints
