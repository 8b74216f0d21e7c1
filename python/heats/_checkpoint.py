"""Checkpoints on disk: a folder per step that is there as a whole or not at all. Announces nothing."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resume:
    """Where an earlier attempt of this trial left off."""

    path: Path
    """The folder that ``checkpoint`` filled."""
    step: int
    """The step that it was made for: go on with the next one."""


def draft(root: Path, step: int, attempt: int) -> Path:
    """A new, empty folder beside the checkpoints. Drafts that earlier attempts left behind are removed."""
    root.mkdir(parents=True, exist_ok=True)
    for gone in root.glob(".gone-*"):
        shutil.rmtree(gone, ignore_errors=True)
    for left in root.glob(".draft-*"):
        words = left.name.split("-")
        # An earlier attempt is over: leases never overlap. This one may have other processes at work.
        if len(words) > 1 and words[1].isdigit() and int(words[1]) < attempt:
            shutil.rmtree(left, ignore_errors=True)
    number = 0
    while True:
        path = root / f".draft-{attempt}-{os.getpid()}-{step}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def publish(path: Path, root: Path, step: int) -> Path:
    """Makes the folder ``path`` the checkpoint of ``step``: everything is on disk before it gets its name.

    A checkpoint that has the name is left as it is, for someone may be about to resume from it: the new
    one gets a suffix.
    """
    _sync_tree(path)
    number = 0
    while True:
        final = root / (f"step-{step:08d}" + (f".{number}" if number else ""))
        # A rename would silently replace an empty folder, and fails on others.
        if not final.exists():
            try:
                path.rename(final)
                break
            except OSError:
                if not final.exists():
                    raise
        number += 1
    _sync(root)
    return final


def published(root: Path) -> list[Path]:
    """The checkpoints in ``root`` by step, those of one step by age."""
    found: list[tuple[int, int, Path]] = []
    for path in root.glob("step-*"):
        step, _, number = path.name[len("step-") :].partition(".")
        if step.isdigit() and (number or "0").isdigit():
            found.append((int(step), int(number or "0"), path))
    return [path for _, _, path in sorted(found)]


def remove(path: Path) -> None:
    """Removes a checkpoint or a draft, atomically as seen from outside."""
    aside = path.with_name(f".gone-{os.getpid()}-{path.name}")
    try:
        path.rename(aside)
    except OSError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def _sync_tree(path: Path) -> None:
    for folder, _, files in os.walk(path):
        for name in files:
            file = Path(folder, name)
            if not file.is_symlink():
                _sync(file)
        _sync(Path(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
