"""Watching whether the Ray cluster that a search runs on is still there."""

import socket
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from types import TracebackType

import ray

CHECK_S = 2.0
ANSWER_TIMEOUT_S = 5.0
SILENCE_S = 30.0  # after which a port that neither answers nor refuses is given up

Place = tuple[str, int]
"""Host and port."""


class ClusterWatch:
    """Notices in a thread that the cluster's head or the node of this process is gone.

    Tune asks neither: it would wait for ever for what their workers report. And where the head is
    gone, Ray ends the process itself after a minute, whatever it is doing.
    """

    def __init__(self, on_loss: Callable[[str], None]) -> None:
        """Watch the cluster that this process is connected to.

        Args:
            on_loss: Called once, in the thread, with what is gone.
        """
        self._on_loss = on_loss
        self._places = watched_places()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ClusterWatch":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join()

    def _watch(self) -> None:
        heard = dict.fromkeys(self._places, time.monotonic())
        while not self._left.wait(CHECK_S):
            for what, place in self._places.items():
                answer = knock(place)
                if answer is Answer.OPEN:
                    heard[what] = time.monotonic()
                if answer is Answer.REFUSED or time.monotonic() - heard[what] > SILENCE_S:
                    self._on_loss(f"{what} at {place[0]}:{place[1]}")
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
    """Nobody listens: the process has ended."""
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
