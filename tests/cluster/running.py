"""Starts a cluster on loopback: one parameter server and two workers, each a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 240


def _ports(count: int) -> list[int]:
    """Free ports of 127.0.0.1."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


@dataclass
class Cluster:
    """A running cluster; leaving the context ends its processes."""

    folder: Path
    trainings: Sequence[dict[str, Any]]
    workers: int = 2
    processes: dict[tuple[str, int], subprocess.Popen[bytes]] = field(
        default_factory=dict[tuple[str, int], "subprocess.Popen[bytes]"]
    )

    def __enter__(self) -> Cluster:
        ports = [f"127.0.0.1:{port}" for port in _ports(1 + self.workers)]
        self._addresses = {"ps": ports[:1], "worker": ports[1:]}
        self.start("ps", 0)
        for task in range(self.workers):
            self.start("worker", task)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, job: str, task: int) -> None:
        """Starts a process, or starts it again."""
        plan = {
            "cluster": self._addresses,
            "job": job,
            "task": task,
            "workers": self.workers,
            "folder": str(self.folder),
            "trainings": list(self.trainings),
        }
        path = self.folder / f"{job}-{task}-plan.json"
        path.write_text(json.dumps(plan))
        with open(self.folder / f"{job}-{task}.log", "ab") as log:
            self.processes[job, task] = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.job", str(path)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
            )

    def kill(self, job: str, task: int) -> None:
        """Kills a process as the machine it runs on would."""
        process = self.processes[job, task]
        process.kill()
        process.wait()

    def progress(self, name: str) -> int:
        """The step that the first worker is at."""
        path = self.folder / f"{name}-progress"
        text = path.read_text() if path.exists() else ""
        return int(text) if text else -1

    def wait_for(self, reached: Any) -> None:
        """Waits until ``reached()``; fails where a process ended badly or too much time passed."""
        end = time.monotonic() + _PATIENCE
        while not reached():
            ended = [p for p in self.processes.values() if p.poll() not in (None, 0)]
            assert not ended and time.monotonic() < end, self.logs()
            time.sleep(0.05)

    def results(self, name: str, task: int = 0) -> dict[str, Any]:
        """What a worker saw in a training."""
        path = self.folder / f"{name}-{task}.json"
        self.wait_for(path.exists)
        return json.loads(path.read_text())

    def logs(self) -> str:
        """The end of what every process printed."""
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-1500:]}"
            for path in sorted(self.folder.glob("*.log"))
        )
