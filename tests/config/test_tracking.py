"""Where a search may be sent."""

from pathlib import Path

import pytest

from tune_encoder.config import TrackingSettings
from tune_encoder.errors import ConfigError
from tune_encoder.space import new_space

CONTENT = {"space": {"dropout": {"float": [0.0, 0.4]}}}


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "https://mlflow.example.org", "http://[::1]:5000/path"]
)
def test_an_address_of_a_server_is_taken(uri):
    assert TrackingSettings(mlflow=uri).is_wanted


@pytest.mark.parametrize("project", ["voices", "me/voices", "my-team/v1.2"])
def test_a_project_is_taken_with_its_owner_or_without(project):
    assert TrackingSettings(wandb=project).is_wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mlflow": "127.0.0.1:5000"}, "mlflow is '127.0.0.1:5000', not the address of a server; "),
        (
            {"mlflow": "http://host:port"},
            r"not the address of a server; write it as http://HOST:PO",
        ),
        ({"mlflow": "http://"}, "not the address of a server"),
        ({"mlflow": "http://a b"}, "not the address of a server"),
        ({"mlflow": "file:///tmp/runs"}, "not the address of a server"),
        ({"wandb": "a/b/c"}, "wandb is 'a/b/c', not a project of Weights & Biases; write PROJECT"),
        ({"wandb": "of today"}, "not a project of Weights & Biases"),
        ({"wandb": "50%"}, "not a project of Weights & Biases"),
    ],
)
def test_what_is_no_tracker_is_refused(settings, message):
    with pytest.raises(ConfigError, match=rf"space, tracking: .*{message}"):
        new_space({**CONTENT, "tracking": settings}, "space", Path())


def test_a_password_in_an_address_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="put it into MLFLOW_TRACKING_USERNAME") as raised:
        TrackingSettings(mlflow="http://me:secret@host")

    assert "secret" not in str(raised.value)


def test_a_space_without_the_section_is_sent_nowhere():
    assert not new_space(CONTENT, "space", Path()).tracking.is_wanted
