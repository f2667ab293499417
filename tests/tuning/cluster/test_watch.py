import socket
import threading
import time
from contextlib import closing

from tests.ports import own_port
from tune_encoder.system.ports import LOOPBACK
from tune_encoder.tuning.cluster.watch import Answer, knock, watch


def test_a_port_is_open_where_somebody_listens_and_refuses_where_nobody_does():
    with closing(socket.create_server((LOOPBACK, 0))) as server:
        assert knock(server.getsockname()) is Answer.OPEN
    assert knock((LOOPBACK, own_port())) is Answer.REFUSED


def lost_in(patience_s, back_after_s=None):
    """What is lost of a head that ends, and is started again after a while or never."""
    place = (LOOPBACK, own_port())
    lost, left = [], threading.Event()
    watching = threading.Thread(
        target=watch, args=({"its head": place}, left, lost.append, patience_s)
    )
    watching.start()
    if back_after_s is not None:
        time.sleep(back_after_s)
        with closing(socket.create_server(place)):
            left.set()
            watching.join()
    watching.join()
    return lost, place


def test_a_head_of_our_own_that_refuses_is_lost_at_once():
    lost, (host, port) = lost_in(patience_s=0.0)

    assert lost == [f"its head at {host}:{port}"]


def test_another_head_may_be_started_again():
    assert lost_in(patience_s=30.0, back_after_s=2.5)[0] == []
