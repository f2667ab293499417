"""The page where the exported model of an experiment is heard, and clones what it is sent."""

import asyncio
from importlib.resources import files
from pathlib import Path

from fastapi import Request, Response
from nicegui import app, ui

from tune_encoder.errors import StorageError, TuneEncoderError, error_line
from tune_encoder.experiment.commands import clone_line, command_line
from tune_encoder.experiment.folder import Experiment, open_experiment
from tune_encoder.experiment.run import EXPORTED
from tune_encoder.serve.best_voices import HeardVoice, HeardVoices, Hearing
from tune_encoder.serve.cloning import Cloned, ClonedVoice, clone_recordings
from tune_encoder.serve.frame import RESPONSE_S, TOP, frame, heading, say_problem, table, text
from tune_encoder.serve.recordings import (
    MAX_BYTES,
    MEGABYTE,
    TOO_LARGE,
    Inbox,
    Inboxes,
    remove,
    remove_abandoned,
)
from tune_encoder.serve.watching import Watch
from tune_encoder.system.manifest import PROVENANCE

MAX_SHOWN = 20  # styles of a page, of 300 kB each
_SCRIPTS = ("hearing.js", "microphone.js")
_BASELINES = {
    "mean": "mean voice",
    "nearest": "nearest known voice",
    "model": "the exported model",
}


def add_hearing_page(watch: Watch) -> None:
    """Add the page at /e/NAME/hearing, and where its recordings are sent."""
    hearing, inboxes, turn = Hearing(), Inboxes(), asyncio.Semaphore()
    _add_routes(inboxes)
    app.on_startup(remove_abandoned)
    app.on_shutdown(inboxes.close)

    @ui.page("/e/{name}/hearing", response_timeout=RESPONSE_S)
    async def hearing_page(name: str) -> None:
        trail = [TOP, (name, f"/e/{name}")]
        with frame("Hearing", *trail):
            try:
                experiment = open_experiment(watch.root, name)
                model = _exported_model(experiment)
            except TuneEncoderError as error:
                say_problem(error_line(error))
                return
            _add_cloning(model, inboxes, turn)
            _add_voices(hearing, experiment)


def _add_routes(inboxes: Inboxes) -> None:
    @app.get("/hearing/{script}")
    def script(script: str) -> Response:
        if script not in _SCRIPTS:
            return Response("no such script", 404, media_type="text/plain")
        content = files("tune_encoder.serve").joinpath(script).read_text("utf-8")
        headers = {"Cache-Control": "no-cache"}
        return Response(content, media_type="text/javascript", headers=headers)

    @app.post("/hearing/{key}/recording")
    async def receive(key: str, name: str, request: Request) -> Response:
        return await inboxes.receive(key, name, request)

    @app.post("/hearing/{key}/clone")
    async def clone(key: str, voice: str = "") -> Response:
        return await inboxes.clone(key, voice)


def _exported_model(experiment: Experiment) -> Path:
    """Return the model of an experiment.

    Raises:
        StorageError: if there is none, with the command that makes it.
    """
    model = experiment.path / EXPORTED
    if not (model / PROVENANCE).is_file():
        raise StorageError(
            f"{experiment.name}: has no exported model to hear; make one with "
            f"`{command_line('export', experiment.path)}` and load this page again"
        )
    return model


# --- clone ---------------------------------------------------------------------------------------


def _add_cloning(model: Path, inboxes: Inboxes, turn: asyncio.Semaphore) -> None:
    """Add where recordings are chosen or recorded, and what came of them."""
    heading(2, "Clone a voice")
    text(
        "Choose recordings of clean speech, at least 3 s each, as wav, flac, ogg or mp3 of up to "
        f"{MAX_BYTES // MEGABYTE} MB, or record one. They stay on this machine and are removed "
        "when their styles are made.",
        "soft",
    )
    place = ui.element("section").props('data-hearing=place aria-label="clone a voice"')
    with place:
        _add_inputs()
        text("", "soft").props("data-hearing=status role=status")
        text("", "problem").props("data-hearing=problem role=alert")
    results = ui.element("div").classes("clones")
    client, page = ui.context.client, _Clones(model, results, turn)

    async def clone(voice: str) -> None:
        with client:
            await page.clone(inbox, voice)

    inbox = Inbox(clone)
    key = inboxes.add(inbox)
    client.on_delete(lambda: inboxes.remove(key))
    place.props["data-key"], place.props["data-most"] = key, str(MAX_BYTES)
    place.props["data-too-large"] = TOO_LARGE
    text(f"In a terminal: {clone_line(model)}", "command")
    ui.add_body_html('<script type="module" src="/hearing/hearing.js"></script>')


def _add_inputs() -> None:
    """Add what is chosen before cloning; the script of the page listens to it."""
    with ui.element("div").classes("inputs"):
        with ui.element("label"):
            text("Recordings")
            ui.element("input").props(
                'type=file multiple data-hearing=files accept="audio/*,.wav,.flac,.ogg,.mp3,.opus"'
            )
        with ui.element("label"):
            text("Name of the speaker, if one style is wanted of all of them")
            ui.element("input").props("type=text data-hearing=voice maxlength=100 spellcheck=false")
        with ui.element("div").classes("buttons"):
            ui.button("Clone").props("no-caps unelevated data-hearing=clone")
            ui.button("Record", icon="mic").props("no-caps outline data-hearing=record")
            ui.element("audio").props(
                'controls hidden data-hearing=played aria-label="your recording"'
            )


class _Clones:
    """The styles that a page has made, the newest first."""

    def __init__(self, model: Path, place: ui.element, turn: asyncio.Semaphore) -> None:
        self.model, self.place, self.turn = model, place, turn
        self.shown: list[tuple[ui.element, int]] = []

    async def clone(self, inbox: Inbox, voice: str) -> None:
        """Clone what was sent, one page after the other, and show it."""
        folder = inbox.take()
        if folder is None:
            return
        try:
            async with self.turn:
                cloned = await asyncio.to_thread(clone_recordings, self.model, folder, voice)
        except TuneEncoderError as error:
            cloned = Cloned(voices=[], problems=[error_line(error)])
        finally:
            remove(folder)
        self._show(cloned)

    def _show(self, cloned: Cloned) -> None:
        with self.place:
            block = ui.element("div").props("data-hearing=cloned")
        block.move(target_index=0)
        with block:
            for problem in cloned["problems"]:
                say_problem(problem)
            for voice in cloned["voices"]:
                _show_clone(voice)
        self.shown.append((block, len(cloned["voices"])))
        while len(self.shown) > 1 and sum(count for _, count in self.shown) > MAX_SHOWN:
            self.shown.pop(0)[0].delete()


def _show_clone(voice: ClonedVoice) -> None:
    with ui.element("article").classes("clone"):
        heading(3, voice["file"].removesuffix(".json"))
        for warning in voice["warnings"]:
            say_problem(f"warning: {warning}")
        for line in voice["lines"]:
            text(line)
        if voice["nearest"]:
            rows = [
                [name, "" if distance is None else f"{distance:.2f}"]
                for name, distance in voice["nearest"]
            ]
            table(["known voice", "distance"], rows, "nearest known voices")
        content, name = voice["style"].encode(), voice["file"]
        ui.button(
            f"Download {name}",
            icon="download",
            on_click=lambda: ui.download.content(content, name, "application/json"),
        ).props("no-caps flat")


# --- the best and the worst ----------------------------------------------------------------------


def _add_voices(hearing: Hearing, experiment: Experiment) -> None:
    """Add the best and the worst voices as soon as they have been evaluated."""
    heading(2, "Best and worst voices")
    with ui.element("div").props("data-hearing=voices aria-live=polite") as place:
        text("The model is being evaluated ...", "soft")

    async def fill() -> None:
        try:
            heard = await hearing.hear(experiment.path)
        except (TuneEncoderError, OSError) as error:
            heard, why = None, error_line(error)
        place.clear()
        with place:
            if heard is None:
                say_problem(why)
            else:
                _show_voices(heard)

    ui.timer(0, fill, once=True)


def _show_voices(heard: HeardVoices) -> None:
    if heard["note"]:
        say_problem(heard["note"])
    text(
        "The skill is 1 where the style is that of the voice, and 0 where it is no better than the "
        "mean voice. Distances: 0 is that voice, 1 is as far as another one.",
        "soft",
    )
    if heard["trained_on"]:
        text(f"{heard['trained_on'][0].upper()}{heard['trained_on'][1:]}.", "soft")
    rows = [[_BASELINES.get(name, name), f"{skill:.3f}"] for name, skill in heard["scores"]]
    table([f"on the {heard['split']} voices", heard["skill_name"]], rows, "skill beside baselines")
    for name, voices in heard["groups"]:
        if voices:
            heading(3, name)
            with ui.element("div").classes("voices"):
                for voice in voices:
                    _show_voice(voice)


def _show_voice(voice: HeardVoice) -> None:
    with ui.element("figure").classes("voice"):
        picture = ui.element("img").props("loading=lazy")
        picture.props["src"] = voice["spectrogram"]
        picture.props["alt"] = f"spectrogram of {voice['voice']}, {voice['seconds']:.1f} s"
        if voice["sound"]:
            sound = ui.element("audio").props("controls preload=metadata")
            sound.props["src"] = voice["sound"]
            sound.props["aria-label"] = voice["voice"]
        with ui.element("figcaption"):
            text(voice["voice"], "name")
            text(voice["skill"])
            text(f"the nearest known voice in its place: {voice['nearest_skill']:.3f}")
            text(voice["nearest"])
