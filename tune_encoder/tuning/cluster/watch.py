"""Watching whether the Ray cluster that a search runs on is still there."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto

import ray

CHECK_S = 2.0
ANSWER_TIMEOUT_S = 5.0
SILENCE_S = 30.0  # after which what does not answer is given up

Place = tuple[str, int]
"""Host and port."""


@contextmanager
def watching(on_loss: Callable[[str], None], *, is_own: bool) -> Iterator[None]:
    """Notice in a thread that the cluster's head or the node of this process is gone.

    Tune asks neither: it would wait for ever for what their workers report. And where the head is
    gone, Ray ends the process itself after a minute, whatever it is doing.

    Args:
        on_loss: Called once, in the thread, with what is gone; at the latest as the block is left.
        is_own: Whether this process started it, so that nobody will start it again.
    """
    left = threading.Event()
    patience_s = 0.0 if is_own else SILENCE_S
    watched = (watched_places(), left, on_loss, patience_s)
    thread = threading.Thread(target=watch, args=watched, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def watch(
    places: Mapping[str, Place],
    left: threading.Event,
    on_loss: Callable[[str], None],
    patience_s: float,
) -> None:
    """Knock at all places again and again, until the block is left or one is lost.

    Args:
        places: By what listens there.
        left: Set when the block is left; each place is then tried once more.
        on_loss: Called once, with what is gone.
        patience_s: How long a place may refuse before it is given up.
    """
    heard = dict.fromkeys(places, time.monotonic())
    is_left = False
    while not is_left:
        is_left = left.wait(CHECK_S)
        for what, place in places.items():
            answer = knock(place)
            if answer is Answer.OPEN:
                heard[what] = time.monotonic()
                continue
            limit_s = patience_s if answer is Answer.REFUSED else SILENCE_S
            if time.monotonic() - heard[what] >= limit_s:
                on_loss(f"{what} at {place[0]}:{place[1]}")
                return


def watched_places() -> dict[str, Place]:
    """Return where the cluster's head and the manager of this process's node listen."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    node = next(each for each in ray.nodes() if each["NodeID"] == context.get_node_id())
    return {
        "its head": (host, int(port)),
        "the node of this process": (node["NodeManagerAddress"], node["NodeManagerPort"]),
    }


class Answer(Enum):
    """What a port says to a connection."""

    OPEN = auto()
    REFUSED = auto()
    """Nobody listens: the process has ended, or is being started again."""
    NONE = auto()
    """It may be busy, or the network may be down for a moment."""


def knock(place: Place) -> Answer:
    """Connect to a port, and leave."""
    try:
        socket.create_connection(place, ANSWER_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return Answer.REFUSED
    except OSError:
        return Answer.NONE
    return Answer.OPEN
