"""A Slurm of our own on loopback: two nodes on this machine, from Debian's `slurm-wlm`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
NODES = ("n1", "n2")
NOT_ENDED = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
START_S = 60
STOP_S = 60  # a job that does not end at once is killed after Slurm's KillWait, 30 s
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
# A requeued job waits until its old credential has expired, by default two minutes.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
# No cgroups: a container has none to give.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
FirstJobId={first_job}
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=8192
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=8192
PartitionName=test Nodes=ALL Default=YES State=UP
"""


def missing() -> str:
    """Return why there can be no Slurm here, or nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"no {', '.join(absent)} here; apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "only root can start Slurm and munge here"
    if not (Path(sys.prefix) / "bin" / "activate").exists():
        return "Python is in no virtual environment here, which the script activates"
    return ""


class Slurm:
    """The daemons of one cluster, in a folder of their own, and its jobs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o711)  # munged insists that everybody can reach its socket
        (self.folder / "munge").mkdir(mode=0o711)
        (self.folder / "state").mkdir()
        (self.folder / "munge" / "key").write_bytes(os.urandom(1024))
        (self.folder / "munge" / "key").chmod(0o600)
        ports = _free_ports(3)
        host = socket.gethostname().split(".")[0]
        values = {"folder": self.folder, "host": host, "ports": ports, "nodes": NODES}
        # The script makes Ray's ports from the number of its job.
        text = CONFIG.format(**values, first_job=1000 + ports[0] % 8000)
        (self.folder / "slurm.conf").write_text(text)
        self.environment = {"PATH": _path(), "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._jobs: list[str] = []

    def start(self) -> None:
        munge = self.folder / "munge"
        self._launch("munged", "--foreground", *(
            f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")
        ), f"--socket={munge / 'socket'}")  # fmt: skip
        self._wait_for("munged", (munge / "socket").exists)
        self._launch("slurmctld", "-D")
        for node in NODES:
            self._launch("slurmd", "-D", "-N", node)
        self._wait_for("slurmd", lambda: self._ask("sinfo", "-h", "-o", "%t %D") == "idle 2")

    def submit(self, script: Path, *options: str, **environment: str) -> str:
        """Hand a script to sbatch, as from its folder; returns the number of the job."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        done = subprocess.run(
            ["sbatch", "--parsable", *options, script.name],
            env={**ours, **self.environment, **environment},
            cwd=script.parent,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        self._jobs.append(done.stdout.strip())
        return self._jobs[-1]

    def job(self, number: str) -> dict[str, str]:
        """What Slurm says of a job: its JobState, Restarts, ExitCode and more."""
        words = self._ask("scontrol", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def control(self, *words: str) -> None:
        subprocess.run(words, env=self._environment(), check=True)

    def wait(self, number: str, wanted: str, seconds: float) -> None:
        """Wait until a job has a state; one that ended in another way fails."""
        deadline = time.monotonic() + seconds
        while (state := self.job(number)["JobState"]) != wanted:
            assert state in NOT_ENDED, f"job {number} is {state}, not {wanted}"
            assert time.monotonic() < deadline, f"job {number} is {state} after {seconds} s"
            time.sleep(0.2)

    def stop(self) -> None:
        """End all jobs, then the daemons, and remove what they wrote."""
        subprocess.run(["scancel", *self._jobs], env=self._environment(), capture_output=True)
        deadline = time.monotonic() + STOP_S
        while self._ask("squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for number in self._jobs:
            shutil.rmtree(f"/tmp/ray-{number}", ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self._processes.append(
                subprocess.Popen([name, *words], env=self._environment(), stdout=log, stderr=log)
            )

    def _wait_for(self, name: str, ready: Any) -> None:
        deadline = time.monotonic() + START_S
        while not ready():
            told = (self.folder / f"{name}.out").read_text()
            assert all(process.poll() is None for process in self._processes), told
            assert time.monotonic() < deadline, told
            time.sleep(0.1)

    def _ask(self, *words: str) -> str:
        done = subprocess.run(words, env=self._environment(), capture_output=True, text=True)
        return done.stdout.strip()

    def _environment(self) -> dict[str, str]:
        return {"LANG": "C.UTF-8", **self.environment}


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where the daemons are


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
