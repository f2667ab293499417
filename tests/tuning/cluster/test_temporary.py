import pytest
import ray

from tests.builders import new_experiment
from tune_encoder.config import LOCAL_LAUNCH
from tune_encoder.errors import StorageError
from tune_encoder.tuning.cluster import temporary
from tune_encoder.tuning.cluster.connection import connected
from tune_encoder.tuning.cluster.temporary import ray_parent


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_without_variables_ray_is_where_it_is_by_itself(capsys):
    assert str(ray_parent("ray")) == "/tmp"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_that_is_short_enough_is_taken_without_a_word(monkeypatch, capsys, name):
    monkeypatch.setenv(name, "/var/tmp/" + "x" * 20)

    assert str(ray_parent("ray")) == "/var/tmp/" + "x" * 20
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("folder", ["/a/" + "x" * 60, "/a/" + "é" * 20])
def test_instead_of_one_that_is_too_long_a_short_one_is_taken(monkeypatch, capsys, name, folder):
    monkeypatch.setenv(name, folder)

    assert str(ray_parent("ray")) == "/tmp"
    assert capsys.readouterr().err == f"{name} is too long for Ray's sockets; they are in /tmp\n"


def test_if_no_short_one_is_writable_the_variable_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(temporary, "_SHORT", (str(tmp_path / "none"),))
    monkeypatch.setenv("TMPDIR", "/a/" + "x" * 60)

    with pytest.raises(StorageError, match=r"^TMPDIR is /a/x+: too long .*of at most 37 bytes$"):
        ray_parent("ray")


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_ray_starts_where_temporary_files_have_a_long_path(monkeypatch, tmp_path, capsys):
    experiment = new_experiment(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 60)))

    with connected(experiment, LOCAL_LAUNCH):
        assert ray.is_initialized()
    assert "TMPDIR is too long for Ray's sockets" in capsys.readouterr().err
