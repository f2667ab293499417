"""Addresses of databases, and what is wrong with them."""

import sys
from contextlib import closing

import pytest
from sqlalchemy import text

from tests.tuning.lost import run
from tune_encoder.config import StorageSettings
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.tuning.record.database import Database

CANARY = "canary"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{CANARY}@host/db",
        f"postgresql+psycopg://user:{CANARY}/?:@host:1/db",
        f"postgresql://user:a{CANARY}?@host",
        f"postgresql://user@host/db?password={CANARY}",
        f"postgresql://user@host/db?sslmode=prefer&sslpassword={CANARY}",
        f"postgresql://user@host/db?PASSWORD={CANARY}",
        f"postgresql://user@host/db?pass%77ord={CANARY}",
        f"mysql://user:{CANARY}@host/db",
        f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{CANARY}",
        f"mssql+pyodbc:///?odbc_connect=pwd%3D{CANARY}",
    ],
)
def test_a_password_is_refused_and_not_repeated(tmp_path, capsys, url):
    code, out, error = run(capsys, f"search --record {url} --root {tmp_path} --data-dir {tmp_path}")

    assert code == 2
    assert "record: the address contains a password" in error
    assert "put the password into PGPASSWORD or ~/.pgpass" in error
    assert CANARY not in out + error


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user@host:5432/db",
        "postgresql://host:5432/db",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://host/db?passfile=/etc/pgpass",
        "sqlite:////data/a:b@c.db",
    ],
)
def test_other_addresses_have_no_password(url):
    assert StorageSettings(record=url).record == url


@pytest.mark.parametrize("url", [f"postgresql:/user:{CANARY}@host/db", "runs/study.db"])
def test_an_address_without_its_slashes_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match=r"^record: not the address of a database; write it as"):
        StorageSettings(record=url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", r"^record: not the address of a database; write it as postgresql://USER@HO"),
        (f"postgresql://{CANARY}:x/db", r"^record: not the address of a database; write it as p"),
        ("foo://host/db", r"^record: Can't load plugin: sqlalchemy\.dialects:foo; write it as po"),
        ("mysql://host/db", r"^record: no driver for mysql is installed; pip install one$"),
    ],
)
def test_what_is_no_address_of_a_database_is_refused(url, problem):
    with pytest.raises(ConfigError, match=problem) as refused:
        Database(url, "mine")
    assert CANARY not in str(refused.value)


def test_a_missing_driver_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(
        ConfigError,
        match=r"^record: no driver for postgresql is installed; pip install 'tune-encoder\[postgr",
    ):
        Database("postgresql://127.0.0.1:1/db", "mine")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://127.0.0.1:1/db", "Connection refused"),
        ("sqlite:////no/such/folder/record.db", "unable to open database file"),
    ],
)
def test_a_database_that_does_not_answer_is_refused_before_anything_is_trained(
    tmp_path, data_dir, capsys, url, reason
):
    options = f"--root {tmp_path} --name mine --data-dir {data_dir} --record {url}"

    code, _, error = run(capsys, f"search {options}")

    assert code == 4
    assert error.startswith(f"tune-encoder: {url}: cannot be opened (")
    assert f"{reason}); check the address, PGPASSWORD and ~/.pgpass" in error
    assert not (tmp_path / "mine").exists()


def test_a_wrong_password_is_refused_with_where_it_is_read_from(pg, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", CANARY)

    with pytest.raises(
        StorageError, match=r"password authentication failed .*; check .* PGPASSWORD and ~/\.pgpass"
    ) as refused:
        Database(pg, "mine")
    assert CANARY not in str(refused.value)


def test_tables_of_another_optuna_are_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/record.db"
    with closing(Database(url, "mine")) as database, database._storage.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v2.6.0.a'"))

    with pytest.raises(
        StorageError,
        match=r"its tables are of version v2\.6\.0\.a of Optuna, not v\S+; run `optuna storage upg",
    ):
        Database(url, "mine")
