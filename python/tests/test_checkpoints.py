"""Checkpoints: whole or absent, announced, superseded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import World
from fake_agent import running

import heats

PACKAGE = Path(heats.__file__).parent.parent


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_is_published_whole_and_announced(agent: World) -> None:
    with heats.trial() as t, t.checkpoint(3) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text("w")
        assert [name for name in names(folder.parent) if not name.startswith(".")] == [], "not there yet"
    final = agent.folder / "checkpoints" / "step-00000003"
    assert (final / "sub" / "weights").read_text() == "w"
    assert agent.record.bodies("/v1/checkpoint") == [{"step": 3, "path": str(final)}]
    assert names(final.parent) == ["step-00000003"]


def test_an_artifact_is_kept_whole_under_its_name_and_another_one_takes_its_place(agent: World) -> None:
    source = agent.folder / "best.pt"
    kept = agent.folder / "artifacts"
    with heats.trial() as t:
        for content in ["first", "second"]:
            source.write_text(content)
            t.artifact(source)
            t.artifact(str(source), "model.pt")
    assert names(kept) == ["best.pt", "model.pt"]
    assert (kept / "model.pt").read_text() == "second"


def test_what_cannot_be_kept_is_said_at_once(agent: World) -> None:
    source = agent.folder / "best.pt"
    source.write_text("w")
    with heats.trial() as t:
        for name in ["", ".hidden", "../model.pt", "a/b", "x" * 256]:
            with pytest.raises(ValueError, match="kept under the name"):
                t.artifact(source, name)
        with pytest.raises(IsADirectoryError):
            t.artifact(agent.folder)
        for number in range(64):
            t.artifact(source, f"plot-{number}")
        with pytest.raises(ValueError, match="64 files at most"):
            t.artifact(source, "one more")
        t.artifact(source, "plot-1")
    assert len(names(agent.folder / "artifacts")) == 64


def test_an_exception_in_the_block_leaves_the_checkpoint_before(agent: World) -> None:
    with heats.trial() as t:
        with t.checkpoint(1) as folder:
            (folder / "w").write_text("1")
        with pytest.raises(FileNotFoundError), t.checkpoint(2) as folder:
            (folder / "no folder" / "w").write_text("2")
    assert names(agent.folder / "checkpoints") == ["step-00000001"]
    assert len(agent.record.bodies("/v1/checkpoint")) == 1


def test_a_kill_while_writing_leaves_the_checkpoint_before_and_the_next_attempt_clears_up(
    agent: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """
import heats, os, signal
with heats.trial() as t:
    with t.checkpoint(1) as folder:
        (folder / "w").write_text("1")
    with t.checkpoint(2) as folder:
        (folder / "w").write_text("2")
        os.kill(os.getpid(), signal.SIGKILL)
"""
    env = {**os.environ, "PYTHONPATH": str(PACKAGE), "HEATS_ATTEMPT": "1"}
    killed = subprocess.run([sys.executable, "-c", script], env=env, check=False)
    assert killed.returncode == -signal.SIGKILL
    root = agent.folder / "checkpoints"
    draft, whole = names(root)
    assert draft.startswith(".draft-1-")
    assert (root / whole / "w").read_text() == "1"

    monkeypatch.setenv("HEATS_RESUME_FROM", str(root / whole))
    monkeypatch.setenv("HEATS_RESUME_STEP", "1")
    with heats.trial() as t:
        assert t.resume == heats.Resume(root / whole, 1)
        with t.checkpoint(2) as folder:
            (folder / "w").write_text("2")
    assert names(root) == ["step-00000001", "step-00000002"]


def test_a_kill_before_the_rename_leaves_the_checkpoint_before(agent: World) -> None:
    script = """
import heats, os, signal
from heats import _checkpoint
with heats.trial() as t:
    with t.checkpoint(1) as folder:
        (folder / "w").write_text("1")
    synced = _checkpoint._sync_tree
    def then_die(path):
        synced(path)
        os.kill(os.getpid(), signal.SIGKILL)
    _checkpoint._sync_tree = then_die
    with t.checkpoint(1) as folder:
        (folder / "w").write_text("another")
"""
    env = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    killed = subprocess.run([sys.executable, "-c", script], env=env, check=False)
    assert killed.returncode == -signal.SIGKILL
    root = agent.folder / "checkpoints"
    assert [name for name in names(root) if not name.startswith(".")] == ["step-00000001"]
    assert (root / "step-00000001" / "w").read_text() == "1"
    assert len(agent.record.bodies("/v1/checkpoint")) == 1


def test_two_checkpoints_may_be_written_at_once(agent: World) -> None:
    with heats.trial() as t, t.checkpoint(1) as first:
        with t.checkpoint(1) as second:
            (second / "w").write_text("second")
        (first / "w").write_text("first")
    root = agent.folder / "checkpoints"
    assert (root / "step-00000001" / "w").read_text() == "second"
    assert (root / "step-00000001.1" / "w").read_text() == "first"


def test_a_second_checkpoint_of_a_step_replaces_none(agent: World) -> None:
    with heats.trial(keep_checkpoints=None) as t:
        for text in "abc":
            with t.checkpoint(1) as folder:
                (folder / "w").write_text(text)
    root = agent.folder / "checkpoints"
    assert {name: (root / name / "w").read_text() for name in names(root)} == {
        "step-00000001": "a",
        "step-00000001.1": "b",
        "step-00000001.2": "c",
    }
    assert agent.record.bodies("/v1/checkpoint")[-1]["path"] == str(root / "step-00000001.2")


def test_the_last_two_stay(agent: World) -> None:
    with heats.trial() as t:
        for step in range(5):
            with t.checkpoint(step):
                pass
    assert names(agent.folder / "checkpoints") == ["step-00000003", "step-00000004"]


def test_what_earlier_attempts_left_goes_when_it_is_superseded(agent: World, monkeypatch: pytest.MonkeyPatch) -> None:
    root = agent.folder / "checkpoints"
    for name in ("step-00000001", "step-00000002", "step-00000003", "step-00000002.1", "step-mine"):
        (root / name).mkdir(parents=True)
    monkeypatch.setenv("HEATS_RESUME_FROM", str(root / "step-00000002"))
    monkeypatch.setenv("HEATS_RESUME_STEP", "2")
    with heats.trial(keep_checkpoints=3) as t:
        with t.checkpoint(3):
            pass
        assert names(root) == ["step-00000002", "step-00000003", "step-00000003.1", "step-mine"]
        for step in (4, 5):
            with t.checkpoint(step):
                pass
    assert names(root) == ["step-00000003.1", "step-00000004", "step-00000005", "step-mine"]


def test_another_trials_checkpoint_is_not_ours_to_remove(agent: World, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = agent.folder / "other" / "step-00000001"
    elsewhere.mkdir(parents=True)
    monkeypatch.setenv("HEATS_RESUME_FROM", str(elsewhere))
    with heats.trial() as t:
        for step in range(2, 6):
            with t.checkpoint(step):
                pass
    assert elsewhere.exists()


def test_outside_heats_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "step-1").mkdir(parents=True)
    monkeypatch.setenv("HEATS_CHECKPOINT_DIR", str(tmp_path / "mine"))
    with heats.trial() as t:
        for step in (2, 3, 4):
            with t.checkpoint(step):
                pass
    assert names(tmp_path / "mine") == ["step-00000003", "step-00000004", "step-1"]


@pytest.mark.usefixtures("impatient")
def test_nothing_is_removed_while_the_agent_does_not_know_of_what_is_newer(world: World) -> None:
    with heats.trial() as t:
        for step in range(4):
            with t.checkpoint(step):
                pass
        root = world.folder / "checkpoints"
        assert len(names(root)) == 4
        with running(world.socket, world.record):
            t.report(4, loss=0.1)
    assert world.record.bodies("/v1/checkpoint") == [{"step": 3, "path": str(root / "step-00000003")}]
    assert names(root) == ["step-00000002", "step-00000003"]


def test_a_checkpoint_that_is_gone_means_a_fresh_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATS_RESUME_FROM", str(world.folder / "gone"))
    with pytest.warns(heats.AgentWarning, match="is gone"):
        t = heats.trial()
    assert t.resume is None


def test_outside_heats_checkpoints_stay_in_a_folder_of_the_run(tmp_path: Path) -> None:
    with heats.trial() as t, t.checkpoint(7) as folder:
        (folder / "w").write_text("7")
    (written,) = tmp_path.glob("heats-local/*/checkpoints/step-00000007/w")
    assert written.read_text() == "7"
