"""One trial as its script sees it. Decides nothing: the agent says whether to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Callable, NoReturn, Optional, Union

from heats import _artifact, _checkpoint, _metrics, _params
from heats._agent import Agent, AgentWarning, AwayError
from heats._reports import PATIENCE_S, Reports

# The exit code that means "this configuration cannot be run".
_EXIT_INFEASIBLE = 65
# Seeds are folded into what NumPy and scikit-learn accept.
_SEED_BITS = 32

_Handler = Union[Callable[[int, Optional[FrameType]], Any], int, None]


@dataclass(frozen=True)
class Verdict:
    """What the agent answered to a report. True where the trial should stop: ``if t.report(...): break``."""

    should_stop: bool

    def __bool__(self) -> bool:
        return self.should_stop


class Infeasible(SystemExit):
    """Ends the process with exit code 65: its configuration cannot be run."""


class Trial:
    """A trial: its parameters, its reports, its checkpoints. Made by ``heats.trial``.

    All methods may be called from several threads.
    """

    params: _params.Params
    """The parameters, as attributes and as items."""
    resume: Optional[_checkpoint.Resume]
    """The checkpoint to go on from, or None for a fresh start."""
    sweep: Optional[str]
    """The sweep's name or id; None outside Heats."""
    number: int
    """The trial's number within its sweep, from 0."""
    attempt: int
    """Which attempt at this trial this is, from 1."""
    seed: int
    """The trial's seed, folded into 32 bits; 0 outside Heats."""
    local: bool
    """Whether the script runs outside Heats."""

    def __init__(
        self,
        defaults: Optional[Mapping[str, Any]] = None,
        *,
        on_stop: Optional[str] = None,
        wait: bool = False,
        keep_checkpoints: Optional[int] = 2,
    ) -> None:
        """See ``heats.trial``."""
        if on_stop not in (None, "flag"):
            raise ValueError(f"on_stop must be None or 'flag', not {on_stop!r}")
        if keep_checkpoints is not None and keep_checkpoints < 1:
            raise ValueError("keep_checkpoints must be at least 1, or None for all")
        env = os.environ
        socket_path = env.get("HEATS_API_SOCK")
        self.local = not (socket_path or env.get("HEATS_TRIAL"))
        self._agent = Agent(socket_path) if socket_path else None
        self._reports = Reports(self._agent, _path(env.get("HEATS_METRICS_FILE")))
        self.sweep = env.get("HEATS_SWEEP") or None
        self.number, attempt = _address(env.get("HEATS_TRIAL", ""))
        self.attempt = _whole("HEATS_ATTEMPT", attempt)
        self.seed = _whole("HEATS_SEED", 0) % 2**_SEED_BITS
        self.resume = _resume()
        self.params = _params.Params(self._read_params(defaults or {}))
        self._wait = wait
        self._keep = keep_checkpoints
        # Oldest first. In Heats the folder is this trial's own: what earlier attempts left is superseded like ours.
        root = _path(env.get("HEATS_CHECKPOINT_DIR"))
        self._published: list[Path] = [] if self.local or root is None else _checkpoint.published(root)
        if self.resume and self.resume.path in self._published:
            self._published.remove(self.resume.path)
            self._published.append(self.resume.path)
        self._unannounced: Optional[dict[str, Any]] = None
        # Not an event: a signal may arrive while the main thread sets it, and an event has a lock.
        self._stop = False
        self._checkpoints_lock = threading.Lock()
        self._local_root = Path("heats-local", f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        self._previous_handler: _Handler = None
        self._handles_sigterm = on_stop == "flag"
        if self._handles_sigterm:
            self._previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)

    def __enter__(self) -> Trial:
        """The trial itself."""
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Closes the trial; an exception goes on."""
        self.close()

    def report(self, step: int, metrics: Optional[Mapping[str, Any]] = None, /, **more: Any) -> Verdict:
        """Reports what was measured at ``step``: ``t.report(3, loss=0.1)`` or ``t.report(3, {"val/loss": 0.1})``.

        The step is what early stopping counts, the epoch for example. NaN and infinities are fine. The answer
        comes at once, from what the agent knows; it speaks for the reports before this one unless the trial
        was made with ``wait=True``. Where the agent is away (it may be restarting), the report is kept, written
        to ``$HEATS_METRICS_FILE`` and sent later, and training goes on.

        Raises:
            TypeError, ValueError: a step that is no whole number, a metric that is no number, or no metrics.
            RefusedError: the agent does not take such a report.
        """
        number = _metrics.checked_step(step)
        values = _metrics.checked_metrics({**(metrics or {}), **more})
        self._announce_again()
        if self.local:
            _say(f"step {number}: " + " ".join(f"{name}={value:g}" for name, value in values.items()))
        elif self._reports.send(number, values, self._wait):
            self._stop = True
        return Verdict(self._stop)

    @property
    def should_stop(self) -> bool:
        """Whether any answer so far, or SIGTERM with ``on_stop="flag"``, said to stop. Asks nobody."""
        return self._stop

    def poll_stop(self, wait_s: float = 0.0) -> bool:
        """Asks the agent whether to stop, for epochs that take long; returns after ``wait_s`` seconds at the latest.

        Other threads' reports are not held up. An agent that is away means: go on.
        """
        if self._agent is not None and not self._stop:
            milliseconds = max(0, round(wait_s * 1000))
            with contextlib.suppress(AwayError):
                answer = self._agent.get_apart(f"/v1/stop?wait={milliseconds}ms", timeout_s=wait_s + PATIENCE_S)
                if answer.get("action") == "stop":
                    self._stop = True
        return self._stop

    @contextlib.contextmanager
    def checkpoint(self, step: int) -> Iterator[Path]:
        """A folder to write the state after ``step`` into; it becomes the checkpoint when the block ends.

        The folder is written aside, synced to disk and renamed, then the agent is told: a crash at any moment
        leaves the checkpoint before, whole. An exception in the block leaves nothing of this one. The last
        ``keep_checkpoints`` of the trial are kept. Outside Heats checkpoints go to
        ``heats-local/<time>-<pid>/checkpoints``, or to ``$HEATS_CHECKPOINT_DIR`` where that is set.
        """
        number = _metrics.checked_step(step)
        root = _path(os.environ.get("HEATS_CHECKPOINT_DIR")) or self._local_root / "checkpoints"
        root = root.absolute()
        draft = _checkpoint.draft(root, number, self.attempt)
        try:
            yield draft
            final = _checkpoint.publish(draft, root, number)
        except BaseException:
            _checkpoint.remove(draft)
            raise
        with self._checkpoints_lock:
            self._published.append(final)
            self._unannounced = {"step": number, "path": str(final)}
        self._announce()
        if self.local:
            _say(f"step {number}: checkpoint in {final}")

    def artifact(self, path: Union[str, os.PathLike[str]], name: Optional[str] = None) -> None:
        """Keeps a file for people, under its own name or ``name``: the final model, a plot, a confusion matrix.

        It is copied before this returns, and takes the place of what was kept under that name before.
        ``heats artifacts`` lists and fetches what a trial keeps. Outside Heats it goes to
        ``heats-local/<time>-<pid>/artifacts``, or to ``$HEATS_ARTIFACT_DIR`` where that is set.

        Raises:
            ValueError: the name is not one of a file, or is hidden, or there are too many or too large ones already.
            OSError: the file cannot be read, or is none, or there is no room.
        """
        folder = _path(os.environ.get("HEATS_ARTIFACT_DIR")) or self._local_root / "artifacts"
        kept = _artifact.keep(Path(path), folder.absolute(), name)
        if self.local:
            _say(f"artifact in {kept}")

    def infeasible(self, why: str) -> NoReturn:
        """Says that this configuration cannot be run, and why; ends the process with exit code 65.

        Raises:
            Infeasible: always. It is a SystemExit.
        """
        print(f"infeasible: {why}", file=sys.stderr)
        if self._agent is not None:
            try:
                self._agent.post("/v1/infeasible", {"why": why}, PATIENCE_S)
            except AwayError as error:
                # The exit code says the same, without the reason.
                warnings.warn(f"the agent is away ({error})", AgentWarning, stacklevel=2)
        raise Infeasible(_EXIT_INFEASIBLE)

    @property
    def output_dir(self) -> Path:
        """A folder for what the trial leaves behind; it exists. Outside Heats: ``heats-local/<time>-<pid>/output``."""
        path = (_path(os.environ.get("HEATS_OUTPUT_DIR")) or self._local_root / "output").absolute()
        path.mkdir(parents=True, exist_ok=True)
        return path

    def close(self) -> None:
        """Sends what could not be sent before, and closes the connection. The end of a ``with`` block does this."""
        self._announce_again()
        self._reports.flush()
        if self._agent is not None:
            self._agent.close()
        if self._handles_sigterm:
            self._handles_sigterm = False
            signal.signal(signal.SIGTERM, self._previous_handler)

    def _announce_again(self) -> None:
        if self._unannounced is not None:
            self._announce()

    def _announce(self) -> None:
        with self._checkpoints_lock:
            if self._agent is not None and self._unannounced is not None:
                try:
                    self._agent.post("/v1/checkpoint", self._unannounced, PATIENCE_S)
                except AwayError:
                    # The agent would still resume from an earlier one: remove nothing.
                    return
            self._unannounced = None
            if self._keep is not None:
                while len(self._published) > self._keep:
                    _checkpoint.remove(self._published.pop(0))

    def _read_params(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        if self.local:
            return _params.from_argv(defaults, sys.argv[1:])
        file = _path(os.environ.get("HEATS_PARAMS_FILE"))
        if file is not None:
            given = json.loads(file.read_text(encoding="utf-8"))
        elif self._agent is not None:
            given = self._agent.get("/v1/params", PATIENCE_S)
        else:
            given = {}
        return {**defaults, **given}

    def _on_sigterm(self, _signal: int, _frame: Optional[FrameType]) -> None:
        self._stop = True


def trial(
    defaults: Optional[Mapping[str, Any]] = None,
    *,
    on_stop: Optional[str] = None,
    wait: bool = False,
    keep_checkpoints: Optional[int] = 2,
) -> Trial:
    """The trial that this process runs; use it as ``with heats.trial(defaults={"lr": 1e-3}) as t:``.

    Args:
        defaults: parameters that the sweep does not set, or that have no value under its conditions. Outside
            Heats these are the parameters, and ``--name=value`` on the command line overrides one.
        on_stop: what SIGTERM does. None leaves it alone, so that it ends the process; ``"flag"`` makes
            ``should_stop`` true instead, and the script has ``run.stop_grace`` to end by itself. Only the main
            thread may ask for that.
        wait: let each report wait for the verdict on itself. Without it, an answer may be one report late,
            and training never waits.
        keep_checkpoints: how many of the trial's checkpoints stay on disk; None keeps all.
    """
    return Trial(defaults, on_stop=on_stop, wait=wait, keep_checkpoints=keep_checkpoints)


def _path(text: Optional[str]) -> Optional[Path]:
    return Path(text) if text else None


def _resume() -> Optional[_checkpoint.Resume]:
    path = _path(os.environ.get("HEATS_RESUME_FROM"))
    if path is None:
        return None
    if not path.exists():
        warnings.warn(f"the checkpoint `{path}` is gone: this attempt starts afresh", AgentWarning, stacklevel=4)
        return None
    return _checkpoint.Resume(path, _whole("HEATS_RESUME_STEP", 0))


def _whole(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else otherwise
    except ValueError:
        raise ValueError(f"the environment variable {name} is {text!r}, which is no whole number") from None


def _address(text: str) -> tuple[int, int]:
    """Trial and attempt of `12`, `digits/12` or `digits/12@2`."""
    name, _, attempt = text.rpartition("/")[2].partition("@")
    return (int(name) if name.isdigit() else 0, int(attempt) if attempt.isdigit() else 1)


def _say(line: str) -> None:
    if os.environ.get("HEATS_VERBOSE"):
        print(f"heats: {line}", file=sys.stderr)
