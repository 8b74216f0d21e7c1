"""Files that a trial keeps for people, where the agent takes them from."""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: What a coordinator takes of one trial.
COUNT_MAX = 64
BYTES_MAX = 64 << 30


def keep(path: Path, folder: Path, name: str | None) -> Path:
    """Copies the file into ``folder``, complete at once, under its own name or ``name``; where it is then."""
    name = path.name if name is None else name
    if not name or name.startswith(".") or "/" in name or len(name.encode()) > 255 or not name.isprintable():
        raise ValueError(f"nothing can be kept under the name {name!r}: it is that of a file, not hidden")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; pack it into one file")
    folder.mkdir(parents=True, exist_ok=True)
    others = [other.stat().st_size for other in folder.iterdir() if other.name != name and other.name[0] != "."]
    if len(others) >= COUNT_MAX:
        raise ValueError(f"a trial keeps {COUNT_MAX} files at most; pack several into one")
    if sum(others) + path.stat().st_size > BYTES_MAX:
        raise ValueError(f"a trial keeps {BYTES_MAX >> 30} GiB at most; write it to output_dir instead")
    aside = folder / f".new-{os.getpid()}-{threading.get_ident()}"
    try:
        shutil.copyfile(path, aside)
        kept = folder / name
        aside.replace(kept)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return kept
