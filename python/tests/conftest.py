"""A clean environment for each test, and an agent for those that ask."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_agent import Record, running

from heats import _agent, _reports


@dataclass
class World:
    """A trial's environment as its agent made it."""

    folder: Path
    socket: Path
    record: Record

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    def lines(self) -> list[Any]:
        if not self.metrics_file.exists():
            return []
        return [json.loads(line) for line in self.metrics_file.read_text().splitlines()]


@pytest.fixture(autouse=True)
def outside_heats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("HEATS_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """The environment of trial 12 of the sweep `digits`, with nobody at the socket."""
    # A socket's path is short by necessity, and pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="heats-") as short:
        world = World(tmp_path, Path(short, "api.sock"), Record())
        params = tmp_path / "params.json"
        params.write_text('{"lr": 0.00001, "width": 64, "opt": "sgd", "deep": true}')
        for name, value in {
            "SWEEP": "digits",
            "TRIAL": "12",
            "ATTEMPT": "2",
            "SEED": str(2**40 + 7),
            "PARAMS_FILE": str(params),
            "METRICS_FILE": str(world.metrics_file),
            "CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
            "ARTIFACT_DIR": str(tmp_path / "artifacts"),
            "OUTPUT_DIR": str(tmp_path / "output"),
            "API_SOCK": str(world.socket),
        }.items():
            monkeypatch.setenv(f"HEATS_{name}", value)
        yield world


@pytest.fixture
def agent(world: World) -> Iterator[World]:
    """The same with an agent."""
    with running(world.socket, world.record):
        yield world


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives an absent agent up at once, and asks for it again at every request."""
    monkeypatch.setattr(_reports, "PATIENCE_S", 0.0)
    monkeypatch.setattr("heats._trial.PATIENCE_S", 0.0)
    monkeypatch.setattr(_agent, "_AWAY_RETRY_S", 0.0)
