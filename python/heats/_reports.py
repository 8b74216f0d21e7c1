"""Getting every report to the agent: at once, or after it came back, or by way of ``$HEATS_METRICS_FILE``."""

from __future__ import annotations

import json
import threading
import warnings
from collections import deque
from pathlib import Path
from typing import Any, Optional

from heats import _metrics
from heats._agent import Agent, AgentWarning, AwayError, RefusedError

# What training may wait for an agent that is being restarted, before the report goes to the file.
PATIENCE_S = 5.0
# Reports kept in memory to be sent in order when the agent is back. The file has them all.
_KEPT_MAX = 10_000


class Reports:
    """The reports of one trial, in order. Repeating one is harmless: trial, attempt and step identify it."""

    def __init__(self, agent: Optional[Agent], file: Optional[Path]) -> None:
        """Sends to ``agent`` where there is one, and falls back to ``file``."""
        self._agent = agent
        self._file = file
        self._lock = threading.Lock()
        self._unsent: deque[dict[str, Any]] = deque(maxlen=_KEPT_MAX)
        self._warned = False

    def send(self, step: int, metrics: dict[str, float], wait: bool) -> bool:
        """Reports, and says whether to stop."""
        body = {"step": step, "metrics": {name: _metrics.as_json(value) for name, value in metrics.items()}}
        if self._agent is None:
            self._append(body)
            return False
        with self._lock:
            try:
                self._send_unsent(self._agent, PATIENCE_S)
                return _is_stop(self._agent.post("/v1/report", {**body, "wait": wait}, PATIENCE_S))
            except AwayError as error:
                self._append(body)
                self._unsent.append(body)
                self._warn(error)
                return False

    def flush(self) -> None:
        """Sends what could not be sent before; gives up quietly, for the file has it."""
        with self._lock:
            if self._agent is None or not self._unsent:
                return
            try:
                self._send_unsent(self._agent, PATIENCE_S)
            except AwayError as error:
                if self._file is None:
                    count = len(self._unsent)
                    warnings.warn(f"{count} reports are lost: the agent is away: {error}", AgentWarning, stacklevel=2)

    def _send_unsent(self, agent: Agent, patience_s: float) -> None:
        while self._unsent:
            try:
                agent.post("/v1/report", {**self._unsent[0], "wait": False}, patience_s)
            except RefusedError as error:
                # Raising here would blame the wrong report; keeping it would hold up all others.
                warnings.warn(f"step {self._unsent[0]['step']} was refused: {error}", AgentWarning, stacklevel=4)
            self._unsent.popleft()

    def _append(self, body: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            # One write of one line: the agent never sees half of it unless it looks right then.
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(body, allow_nan=False) + "\n")
        except OSError as error:
            warnings.warn(f"cannot write to `{self._file}`: {error}", AgentWarning, stacklevel=2)

    def _warn(self, error: AwayError) -> None:
        if not self._warned:
            self._warned = True
            where = f"reports go to `{self._file}`" if self._file else "reports are kept in memory"
            warnings.warn(f"the agent is away ({error}): {where} until it is back", AgentWarning, stacklevel=4)


def _is_stop(answer: dict[str, Any]) -> bool:
    return answer.get("action") == "stop"
