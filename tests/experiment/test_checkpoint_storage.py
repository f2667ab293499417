import pickle
import socket
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from pyarrow.fs import FileType

from tests.conftest import KEY, SECRET
from tests.fabricate import bare_state
from tune_encoder.config import StorageSettings
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.checkpoint_storage import (
    Storage,
    checkpoint_location,
    checkpoints_of_trial,
    storage_of_location,
)
from tune_encoder.space import find_space, load_space
from tune_encoder.training.checkpoints import load_state, save_state
from tune_encoder.tuning.start import start_search

NAME = "1/0007_abcdef/checkpoint_000003"


@pytest.fixture(params=["s3", "folder"])
def storage(request, tmp_path):
    if request.param == "folder":
        return Storage.at(checkpoint_location(f"file://{tmp_path}/a%20shared/folder", "mine"))
    server = request.getfixturevalue("s3")
    return Storage.at(checkpoint_location(f"s3://{server.make_bucket()}/runs/", "mine"))


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with a checkpoint, as a worker has it."""
    save_state(tmp_path / "made" / "checkpoint.pt", bare_state(3))
    return tmp_path / "made"


def test_a_checkpoint_is_uploaded_listed_downloaded_and_removed(storage, checkpoint, tmp_path):
    storage.check()
    assert storage.checkpoint_names() == []

    storage.upload(checkpoint, NAME)
    assert storage.checkpoint_names() == [NAME]
    storage.download(NAME, tmp_path / "cache")
    assert load_state(tmp_path / "cache" / NAME / "checkpoint.pt")["epoch"] == 3

    storage.remove(NAME)
    assert storage.checkpoint_names() == []


def test_a_downloaded_checkpoint_is_not_downloaded_again(storage, checkpoint, tmp_path):
    storage.upload(checkpoint, NAME)
    storage.download(NAME, tmp_path / "cache")
    save_state(checkpoint / "checkpoint.pt", bare_state(4))
    storage.upload(checkpoint, NAME)

    storage.download(NAME, tmp_path / "cache")

    assert load_state(tmp_path / "cache" / NAME / "checkpoint.pt")["epoch"] == 3


def test_a_checkpoint_without_its_manifest_is_not_listed(storage, checkpoint):
    (checkpoint / "manifest.json").unlink()

    storage.upload(checkpoint, NAME)

    assert storage.checkpoint_names() == []


def test_a_removal_that_is_cut_short_leaves_no_checkpoint_and_can_be_finished(
    storage, checkpoint, monkeypatch
):
    storage.upload(checkpoint, NAME)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "_files", CutShort(storage._files))
        storage.remove(NAME)
    assert storage.checkpoint_names() == []

    storage.upload(checkpoint, NAME)
    storage._files.delete_file(f"{storage._root}/{NAME}/manifest.json")
    storage.remove(NAME)
    assert storage._files.get_file_info(f"{storage._root}/{NAME}").type == FileType.NotFound


class CutShort:
    """Files of a storage that goes away before a folder is removed."""

    def __init__(self, files):
        self.delete_file = files.delete_file

    def delete_dir(self, path):
        raise OSError("gone")


def test_downloading_a_removed_checkpoint_does_nothing(storage, tmp_path):
    storage.download(NAME, tmp_path / "cache")

    assert not (tmp_path / "cache").exists()


def test_a_location_that_is_not_empty_is_refused_for_a_new_search(storage, checkpoint):
    storage.check_unused()
    storage.upload(checkpoint, NAME)

    with pytest.raises(ConfigError, match=r"mine: has checkpoints of another search; choose anoth"):
        storage.check_unused()


def test_of_two_searches_with_the_same_location_only_one_trains_there(storage):
    one, two = replace(storage), replace(storage)
    for each in (one, two):
        each.check()
        each.check_unused()
    one.claim("1")

    with pytest.raises(
        StorageError,
        match=r"mine: has checkpoints of another search of this name; start this one again under "
        r"another --name$",
    ):
        two.claim("2")
    one.claim("1")  # as each launch does
    one.check_owner("1")
    with pytest.raises(StorageError, match="mine: has checkpoints of another search"):
        two.check_owner("2")
    assert one.checkpoint_names() == []


def test_a_location_where_another_search_has_only_started_is_refused_for_a_new_one(storage):
    storage.claim("1")

    with pytest.raises(
        ConfigError,
        match=r"mine: used by another search; choose another "
        r"--name or --storage, or remove owner there if that search no longer exists$",
    ):
        storage.check_unused()


def test_a_search_from_before_locations_had_owners_continues(storage, checkpoint):
    storage.upload(checkpoint, NAME)
    storage.claim("")
    storage.check_owner("")
    storage.check_owner("1")
    assert storage._owner() == ""

    storage.claim("1")
    assert storage._owner() == "1"
    assert storage.checkpoint_names() == [NAME]


def test_checkpoints_of_a_nested_location_are_not_those_of_the_location(storage, checkpoint):
    for name in ("other", "1", "0007_ab"):
        replace(storage, location=f"{storage.location}/{name}").upload(checkpoint, NAME)
    storage.upload(checkpoint, "12/10007_0f/checkpoint_1234567")
    storage.upload(checkpoint, "2/0007/checkpoint_000001")

    assert storage.checkpoint_names() == [
        "12/10007_0f/checkpoint_1234567",
        "2/0007/checkpoint_000001",
    ]


def test_a_trial_has_the_checkpoints_of_all_its_runs_and_no_others():
    mine = [
        "1/0007/checkpoint_000001",
        "1/0007_ab/checkpoint_000002",
        "2/0007_00/checkpoint_000003",
    ]
    others = ["1/0070_ab/checkpoint_000001", "1/0008/checkpoint_000007"]

    assert checkpoints_of_trial([*mine, *others], 7) == mine


@pytest.mark.parametrize(
    ("storage", "place"),
    [
        ("s3://bucket", "s3://bucket/mine"),
        ("s3://bucket/a/b/", "s3://bucket/a/b/mine"),
        ("file:///shared/a%20b", "/shared/a b/mine"),
        ("/shared/runs/", "/shared/runs/mine"),
        ("~/runs", f"{Path.home()}/runs/mine"),
    ],
)
def test_an_experiment_has_a_place_of_its_own_in_a_storage(storage, place):
    assert checkpoint_location(storage, "mine") == place
    assert (
        checkpoint_location(storage_of_location(place), "other") == place[: -len("mine")] + "other"
    )


@pytest.mark.parametrize("storage", ["runs", "runs/mine", "a link"])
def test_a_storage_in_the_experiments_own_folder_is_refused_and_nothing_is_made(storage, tmp_path):
    (tmp_path / "a link").symlink_to(tmp_path / "runs")
    root, storage_settings = tmp_path / "runs", StorageSettings(storage=str(tmp_path / storage))

    with pytest.raises(
        ConfigError,
        match=f"storage is {tmp_path}/{storage}: checkpoints would be "
        "in .*runs/mine, where they are without a storage anyway; leave it out, or name another f",
    ):
        start_search(
            load_space(find_space("quick")),
            tmp_path,
            root,
            "mine",
            storage_settings=storage_settings,
        )

    assert not root.exists()


def test_a_storage_is_pickled_without_its_connection_and_keys(storage):
    storage.checkpoint_names()

    pickled = pickle.dumps(storage)  # as Ray does to hand it to a worker

    # Unpickled here as a worker does; it was made two lines above.
    assert vars(pickle.loads(pickled)) == asdict(storage) == asdict(Storage(**asdict(storage)))
    assert SECRET.encode() not in pickled


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("ftp://host/runs", "storage is ftp://host/runs; it must be s3://BUCKET/PATH or a folder"),
        ("s3://", "storage is s3://; it must be s3://BUCKET/PATH or a folder that all nodes see"),
        ("s3://bucket//a", "storage is s3://bucket//a; it must be s3://BUCKET/PATH"),
        ("file://host/runs", "storage is file://host/runs; it must be s3://BUCKET/PATH"),
        ("s3://host:9000/b", "storage is s3://host:9000/b; put the server into AWS_ENDPOINT_URL"),
        (
            "s3://b/p?region=x",
            "storage is s3://b/p followed by parameters; write s3://BUCKET/PATH only",
        ),
    ],
)
def test_an_address_that_is_no_storage_is_refused(storage, said):
    with pytest.raises(ConfigError) as refused:
        StorageSettings(storage=storage)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    "storage",
    ["s3://me:canary@bucket/runs", "s3://bucket/runs?secret_key=canary", "ftp://canary@b"],
)
def test_a_key_in_an_address_is_refused_and_not_repeated(storage):
    with pytest.raises(ConfigError, match="storage") as refused:
        StorageSettings(storage=storage)
    assert "canary" not in str(refused.value)


def test_a_missing_bucket_is_reported(s3):
    with pytest.raises(
        StorageError, match=r"s3://none/mine: .*no such bucket; create it, or choose"
    ):
        Storage.at("s3://none/mine").check()


def test_a_key_without_permission_is_reported_and_never_shown(s3, checkpoint):
    storage = Storage.at(f"s3://{s3.make_bucket()}/mine")
    s3.ask_for_keys()
    try:
        with pytest.raises(StorageError, match=r"cannot be written, access is denied"):
            storage.upload(checkpoint, NAME)
        with pytest.raises(
            StorageError, match="access is denied; set AWS_ACCESS_KEY_ID and"
        ) as refused:
            storage.check()
        with pytest.raises(StorageError, match=r"cannot be listed, access is denied"):
            storage.checkpoint_names()
    finally:
        s3.ask_for_keys(wanted=False)
    assert SECRET not in str(refused.value)
    assert KEY not in str(refused.value)


def test_a_missing_server_is_reported(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(
        StorageError, match=r"used, no answer from http://127\.0\.0\.1:9; check that"
    ):
        Storage.at("s3://bucket/mine").check()


def test_a_server_that_takes_and_never_answers_is_given_up(s3, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StorageError, match="no answer from http://127"):
            Storage.at("s3://bucket/mine").check()


def test_a_folder_that_may_not_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(
        StorageError, match=r"file/mine: cannot be used, .*Not a directory.*; choose"
    ):
        Storage.at(str(tmp_path / "file" / "mine")).check()


def test_a_worker_gets_no_key(s3):
    told = str(asdict(Storage.at("s3://bucket/mine")))

    assert s3.url in told
    assert KEY not in told
    assert SECRET not in told
