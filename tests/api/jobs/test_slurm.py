"""The batch script for Slurm, run with programs that only note what they are asked."""

import os
import stat
import subprocess

import pytest

from tune_encoder.cli import main
from tune_encoder.tuning.cluster.ray_settings import node_environment

NOTE = 'printf "%s\\n" "$(basename "$0") $*" >> "$NOTES"\n'
PROGRAMS = {
    "scontrol": 'if [ "$1" = show ]; then printf "n1\\nn2\\nn3\\n"; fi\n',
    # As Slurm does: the rest of its line on a node, here all on this one.
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"\n',
    "hostname": "echo 10.0.0.1 10.0.0.2\n",
    # A head answers once it is there, and a search looks for its workers.
    "ray": 'env | grep ^RAY_ | sed "s/^/its /" >> "$NOTES"\n'
    'if [ "$1" = health-check ] && [ -n "${EARLY:-}" ]; then kill -"$EARLY" "$PPID"; fi\n'
    'if [ "$1" = start ]; then\n'
    '  if [ -n "${LATE:-}" ] && [ "$2" != --head ] && mkdir "$LATE" 2> /dev/null; then exit 1; fi\n'
    '  echo "Ray runtime started."\n'
    '  for _ in {1..600}; do kill -0 "$PPID" 2> /dev/null || break; sleep 0.1; done\n'
    '  exit\nfi\ngrep -q "start --head" "$NOTES"\n',
    "python": """if [ "$1" = -c ]; then echo new-token; exit; fi
begun() { [ "$(grep -c "^ray start" "$NOTES")" = "${STARTS:-3}" ]; }
for _ in {1..99}; do begun && break; sleep 0.1; done
if [ -n "${SIGNAL:-}" ]; then
  trap "exit 143" TERM
  kill -"$SIGNAL" "$PPID"
  while true; do sleep 0.1; done
fi
exit "${SEARCH_CODE:-0}"
""",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch, capsys):
    """Runs the script of a search among fake programs, and returns what they noted."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, body in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/bash\n{NOTE}{body}")
        (programs / name).chmod(0o755)
    activate = tmp_path / "venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    notes = tmp_path / "notes"
    environment = {
        **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "NOTES": str(notes),
        "TUNE_ENCODER_VENV": str(tmp_path / "venv"),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_PER_TASK": "2",
    }

    def run(*arguments, code=0, **more):
        with pytest.raises(SystemExit, match="0"):
            main(["submit", "--print", "slurm", "--root", str(tmp_path / "runs"), *arguments])
        script = tmp_path / "search.sh"
        script.write_text(capsys.readouterr().out)
        subprocess.run(["bash", "-n", str(script)], check=True)
        notes.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", str(script)], env={**environment, **more}, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        return notes.read_text().splitlines(), script.read_text()

    return run


def starting(word, notes):
    return [line for line in notes if line.startswith(word)]


def test_it_starts_a_head_then_workers_then_the_search_on_their_address(cluster):
    notes, _ = cluster("--name", "mine")

    first, *others = starting("ray start", notes)
    assert first.startswith("ray start --head --node-ip-address=10.0.0.1 --port=24711 ")
    assert "--dashboard-host=127.0.0.1" in first
    assert others == ["ray start --address=10.0.0.1:24711 --num-cpus=8 --block"] * 2
    nodes = [
        word for line in starting("srun", notes) for word in line.split() if "nodelist" in word
    ]
    assert sorted(nodes[1:]) == ["--nodelist=n1", "--nodelist=n2", "--nodelist=n3"]
    (search,) = starting("python -m tune_encoder search", notes)
    assert search.endswith("--address auto")
    assert "scontrol requeue 4711" not in notes


def test_every_node_is_told_what_undoes_defaults_of_ray_that_harm(cluster):
    notes, _ = cluster()

    told = {"RAY_memory_monitor_refresh_ms": "0", "RAY_enable_metrics_collection": "false"}
    assert node_environment().items() >= told.items()
    for name, value in node_environment().items():
        assert starting(f"its {name}={value}", notes)


def test_the_token_is_made_once_in_a_file_for_its_owner_alone(cluster, tmp_path):
    _, script = cluster(RAY_AUTH_TOKEN_PATH=str(tmp_path / "secret" / "token"))
    token = tmp_path / "secret" / "token"

    assert token.read_text().strip() == "new-token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert "new-token" not in script
    token.write_text("another")
    notes, _ = cluster(RAY_AUTH_TOKEN_PATH=str(token))
    assert token.read_text() == "another"
    assert not any("another" in line for line in notes)


def test_what_was_begun_is_resumed(cluster, tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "search.yaml").touch()

    notes, _ = cluster("--name", "mine")

    (search,) = starting("python -m", notes)
    assert search.startswith("python -m tune_encoder resume mine --root ")


def test_a_search_that_was_stopped_in_time_is_queued_again(cluster):
    notes, script = cluster(code=143, SIGNAL="USR1", RAY_AUTH_TOKEN_PATH=__file__)

    assert notes[-1] == "scontrol requeue 4711"
    assert "#SBATCH --signal=B:USR1@120" in script


def test_a_search_that_was_cancelled_is_not_queued_again(cluster):
    notes, _ = cluster(code=143, SIGNAL="TERM", RAY_AUTH_TOKEN_PATH=__file__)

    assert not starting("scontrol requeue", notes)


@pytest.mark.parametrize(("signal", "queued"), [("USR1", True), ("TERM", False)])
def test_a_signal_before_the_search_begins_ends_what_was_started(cluster, signal, queued):
    notes, _ = cluster(code=143, EARLY=signal, RAY_AUTH_TOKEN_PATH=__file__)

    assert ("scontrol requeue 4711" in notes) is queued  # a step may write its note later
    assert not starting("python -m", notes)


def test_a_worker_that_comes_before_the_head_is_complete_tries_again(cluster, tmp_path):
    notes, _ = cluster(LATE=str(tmp_path / "late"), STARTS="4", RAY_AUTH_TOKEN_PATH=__file__)

    assert len(starting("ray start --address", notes)) == 3  # of two workers


def test_the_head_has_no_address_that_is_loopback(cluster, tmp_path):
    hostname = tmp_path / "programs" / "hostname"
    of_its_name = 'if [ "$1" = --ip-address ]; then echo 127.0.1.1; exit; fi\n'
    hostname.write_text(f"#!/bin/bash\n{of_its_name}echo fd00::2 10.0.0.7\n")

    notes, _ = cluster(RAY_AUTH_TOKEN_PATH=__file__)

    assert "--node-ip-address=10.0.0.7 " in starting("ray start", notes)[0]


def test_a_search_that_failed_is_not_queued_again_and_its_code_is_kept(cluster):
    notes, _ = cluster(code=3, SEARCH_CODE="3", RAY_AUTH_TOKEN_PATH=__file__)

    assert not starting("scontrol requeue", notes)


def test_gpus_are_asked_for_where_trials_use_them(cluster, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("resources: {cpus: 2, gpus: 1, concurrent: 4}\nspace: {seed: {int: [0, 9]}}\n")

    notes, script = cluster("--space", str(space))

    for line in ("--nodes=2", "--cpus-per-task=4", "--gpus-per-task=2"):
        assert f"#SBATCH {line}\n" in script
    assert starting("ray start --address", notes)[0].endswith("--num-cpus=8 --num-gpus=2 --block")
