"""The page of a listening test: one offline file."""

import time
from collections.abc import Sequence
from pathlib import Path

from tune_encoder.report.listen.card import make_card
from tune_encoder.report.listen.hearing import Heard, Listener
from tune_encoder.report.template import check_page, render_template, write_page
from tune_encoder.system.formats import count_noun, quote_path

LISTEN_NAME = "listen.html"


def write_listen_page(
    to: Path, heard: Sequence[Heard], listener: Listener, model: Path, voice: str
) -> None:
    """Write the page of at least one recording; an older page is replaced.

    Args:
        to: The file.
        heard: The recordings and their clones.
        listener: What heard them.
        model: The model that cloned them.
        voice: Name of the model of Supertonic that spoke.

    Raises:
        StorageError: if it cannot be written.
    """
    check_page(to, LISTEN_NAME)
    cards = [make_card(each, listener, f"voice{i}") for i, each in enumerate(heard)]
    title = cards[0].name if len(cards) == 1 else count_noun(len(cards), "recording")
    command = f"tune-encoder clone {quote_path(model)} {quote_path(heard[0].clone.recording)}"
    text = render_template(
        "listen/page.html",
        title=title,
        cards=cards,
        table=[_row(each, listener) for each in heard] if len(heard) > 1 else [],
        model=model,
        voice=voice,
        command=f"{command} -o {quote_path(heard[0].clone.recording.with_suffix('.json'))}",
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
    write_page(to, text, LISTEN_NAME, "--out")


def _row(heard: Heard, listener: Listener) -> tuple[str, ...]:
    place = listener.scale.place(heard.similarity)
    preset, alike = heard.nearest_preset
    on_scale = "" if place is None else f"{place:.2f}"
    return heard.name, f"{heard.similarity:.2f}", on_scale, f"{preset} ({alike:.2f})"
