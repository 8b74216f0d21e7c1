"""Coordinators as processes of their own, each with an address for Optuna's clients."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Optional

HEATS = os.environ.get("HEATS", "heats")
PATIENCE = 60.0


class Cluster:
    """So many coordinators in a folder; they are killed when this is closed."""

    def __init__(self, folder: Path, size: int, block: int = 0) -> None:
        self.folder = folder
        # All of 127.0.0.0/8 is this machine's, and this part of it nobody else's.
        high, low = divmod(os.getpid() % 65_536, 256)
        self.hosts = [f"127.{max(high, 1)}.{low}.{block * 10 + number + 1}" for number in range(size)]
        self.processes: list[Optional[subprocess.Popen[bytes]]] = [None] * size
        for number in range(size):
            self.start(number)
        self.leader()

    def start(self, number: int) -> None:
        """Starts a coordinator, on its data where it has some."""
        host = self.hosts[number]
        peers = [f"--peer={n + 1}={other}:7177" for n, other in enumerate(self.hosts)]
        command = [
            HEATS,
            "coordinator",
            "start",
            "--id",
            str(number + 1),
            "--data",
            str(self.folder / f"c{number + 1}"),
        ]
        command += ["--listen", f"{host}:7177", "--optuna", f"{host}:13000", *peers]
        with (self.folder / f"c{number + 1}.log").open("ab") as log:
            self.processes[number] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def kill(self, number: int) -> None:
        """Kills a coordinator without a warning."""
        process = self.processes[number]
        assert process is not None
        process.kill()
        process.wait()
        self.processes[number] = None

    def heats(self, *args: str) -> str:
        """What `heats` says to the cluster's user."""
        addresses = ",".join(f"{host}:7177" for host in self.hosts)
        command = [HEATS, *args, "--address", addresses]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def agent(self) -> subprocess.Popen[bytes]:
        """Starts an agent of two processors."""
        command = [HEATS, "agent", "start", "--name", "a1", "--cpus", "2", "--data", str(self.folder / "a1")]
        command += ["--address", ",".join(f"{host}:7177" for host in self.hosts)]
        with (self.folder / "a1.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    @staticmethod
    def stop(process: subprocess.Popen[bytes]) -> None:
        """Asks a process to stop, and waits until it has."""
        process.terminate()
        process.wait(PATIENCE)

    def leader(self) -> int:
        """Waits until a coordinator leads; which."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                status = json.loads(self.heats("cluster", "status", "-o", "json"))
            except (AssertionError, json.JSONDecodeError, subprocess.TimeoutExpired):
                continue
            leaders = [member["node"] for member in status["members"] if member["role"] == "leader"]
            if leaders:
                return int(leaders[0]) - 1
        raise AssertionError(f"nobody leads: {self.logs()}")

    def logs(self) -> str:
        """What the coordinators said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        """Kills all."""
        for number, process in enumerate(self.processes):
            if process is not None:
                self.kill(number)
