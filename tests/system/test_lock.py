import fcntl
import os
import threading

import pytest

from tune_encoder.errors import StorageError
from tune_encoder.system.lock import LOCK_NAME, lock_experiment, lock_holder


def test_who_holds_a_folder_is_named_and_nobody_once_it_is_free(tmp_path):
    with lock_experiment(tmp_path):
        assert (lock_holder(tmp_path) or "").startswith(f"pid {os.getpid()} on ")
        with (
            pytest.raises(StorageError, match=rf"in use by pid {os.getpid()} on .*; wait until"),
            lock_experiment(tmp_path),
        ):
            pass
    assert lock_holder(tmp_path) is None


def test_somebody_who_only_looks_for_the_holder_does_not_keep_a_launch_out(tmp_path):
    looks = (tmp_path / LOCK_NAME).open("a+")
    fcntl.flock(looks, fcntl.LOCK_SH)
    threading.Timer(0.02, looks.close).start()

    with lock_experiment(tmp_path):
        assert lock_holder(tmp_path) is not None
