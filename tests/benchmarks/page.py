"""What the page of `serve` costs with a large search: first answer, update, memory, start.

    python -m tests.benchmarks.page --trials 1000 --epochs 81

The search is made up: a third of the trials goes on at each rung. With `--full`, every trial has
all its epochs. Nothing is trained; the epochs of a trial are added one by one while the search
is looked at.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import report
from tests.builders import epoch_row
from tune_encoder.experiment.trials import epoch_key
from tune_encoder.serve.watching import Update, Watch
from tune_encoder.system.ports import free_port

TEMPLATES = 30  # trials that are made as a search makes them, and of which all others are copies


def make(root: Path, trials: int, epochs: int, full: bool) -> Path:
    """Make a search of many trials; each like one of a few, with epochs of its own."""
    path = report.make(root, TEMPLATES, epochs)
    chance = random.Random(0)
    with closing(sqlite3.connect(path / "study.db")) as database:
        known = database.execute("SELECT trial_id, state FROM trials ORDER BY number").fetchall()
        lengths = _lengths(database)
        for number in range(trials):
            template, state = known[number % TEMPLATES]
            key = template if number < TEMPLATES else _copy(database, template, number)
            length = epochs if full and state != "FAIL" else lengths.get(template, 0)
            _write_epochs(database, key, [_row(chance, number, e + 1) for e in range(length)])
        database.commit()
    return path


def _lengths(database: sqlite3.Connection) -> dict[int, int]:
    found = database.execute(
        "SELECT trial_id, count(*) FROM trial_user_attributes WHERE key LIKE 'epoch_%' GROUP BY 1"
    )
    return dict(found.fetchall())


def _copy(database: sqlite3.Connection, template: int, number: int) -> int:
    """Copy a trial with its settings, without its epochs; its new key."""
    key = database.execute(
        "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) "
        "SELECT ?, study_id, state, datetime_start, datetime_complete FROM trials "
        "WHERE trial_id = ?",
        (number, template),
    ).lastrowid
    assert key is not None
    database.execute(
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) SELECT ?, key, value_json "
        "FROM trial_user_attributes WHERE trial_id = ? AND key NOT LIKE 'epoch_%'",
        (key, template),
    )
    database.execute(
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) SELECT "
        "?, param_name, param_value, distribution_json FROM trial_params WHERE trial_id = ?",
        (key, template),
    )
    return key


def _write_epochs(database: sqlite3.Connection, key: int, rows: list[dict[str, Any]]) -> None:
    database.execute(
        "DELETE FROM trial_user_attributes WHERE trial_id = ? AND key LIKE 'epoch_%'", (key,)
    )
    database.executemany(
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
        [(key, epoch_key(row["epoch"]), json.dumps(row)) for row in rows],
    )


def _row(chance: random.Random, number: int, epoch: int) -> dict[str, Any]:
    at = 12.0 * (epoch + 81 * (number // report.WORKERS))
    more = {"seconds": 11.0, "recorded_at": 1.7e9 + at, "worker": f"host:{number % report.WORKERS}"}
    row: dict[str, Any] = epoch_row(epoch, 0.5 + 0.5 / epoch + chance.gauss(0, 0.01), **more)
    return {**row, "order": round(4 * at) + number % report.WORKERS}


def add_epoch(path: Path, number: int, epoch: int) -> None:
    """Write one more epoch of a trial, as a search does."""
    row = {**_row(random.Random(epoch), 4 * number, epoch), "recorded_at": 1.8e9 + epoch}
    with closing(sqlite3.connect(path / "study.db")) as database:
        database.execute(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) SELECT trial_id, ?, ? "
            "FROM trials WHERE number = ?",
            (epoch_key(epoch), json.dumps({**row, "order": 10**7 + epoch}), number),
        )
        database.commit()


async def updates(path: Path, repeats: int, epochs: int) -> tuple[list[float], float]:
    """Return the processor milliseconds of each update of an open page, and the mean bytes sent."""
    watch = Watch(path.parent)
    watched = await watch.open(path.name)
    await asyncio.to_thread(watched.refresh)
    seen: list[Update] = []
    watched.followers.add(seen.append)
    took = []
    for repeat in range(repeats):
        add_epoch(path, 5, epochs + 1 + repeat)
        began = time.process_time()  # the machine may have other work
        update = await asyncio.to_thread(watched.refresh)
        took.append(1000 * (time.process_time() - began))
        assert update is not None
        seen.append(update)
        await asyncio.sleep(0.5)
    sizes = [
        len(json.dumps([each.rows, [change.options for change in each.charts.values()]]))
        for each in seen
    ]
    return took, statistics.fmean(sizes)


def served(root: Path, name: str) -> list[tuple[float, float]]:
    """Return seconds, and processor seconds of the server, to its start and to each page.

    The last is its memory in MB.
    """
    port = free_port(8300)
    command = [sys.executable, "-m", "tune_encoder", "serve", "--port", str(port)]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--root", str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
        server = psutil.Process(process.pid)
        found: list[tuple[float, float]] = []
        for address in (link, *2 * [f"http://127.0.0.1:{port}/e/{name}"]):
            opener.open(address).read()
            used = sum(server.cpu_times()[:2])
            found.append((time.perf_counter() - began, used - sum(each[1] for each in found)))
            time.sleep(4)  # what is loaded after the start is there
            began = time.perf_counter()
        return [*found, (server.memory_info().rss / 1e6, 0.0)]
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Make a search, look at it, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=81)
    parser.add_argument("--full", action="store_true", help="every trial has all its epochs")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder), options.trials, options.epochs, options.full)
        start, first, second, memory = served(path.parent, path.name)
        took, size = asyncio.run(updates(path, options.repeats, options.epochs))
    for label, (wall, cpu) in (
        ("start to the first page", start),
        ("an experiment, first time", first),
        ("the same, again", second),
    ):
        print(f"{label:27}{wall:7.2f} s, {cpu:5.2f} s of a processor")
    print(f"{'memory of the server':27}{memory[0]:7.0f} MB")
    print(f"{'update, median':27}{statistics.median(took):7.1f} ms of a processor")
    print(f"{'update, slowest':27}{max(took):7.1f} ms of a processor")
    print(f"{'update, sent':27}{size / 1000:7.1f} kB")


if __name__ == "__main__":
    main()
