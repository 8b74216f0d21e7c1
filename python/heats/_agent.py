"""The connection to the agent: HTTP/1.1 over the unix socket ``$HEATS_API_SOCK``.

Knows how to ask again when the agent was restarted, and nothing about reports or checkpoints.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from typing import Any, Optional

# The longest that one exchange may take before the agent counts as away.
_EXCHANGE_S = 5.0
# Between two attempts: doubles from the first to the last.
_PAUSE_FIRST_S = 0.02
_PAUSE_LAST_S = 0.5
# While the agent is away, it is tried again no more often than this, and then only briefly.
_AWAY_RETRY_S = 1.0
_AWAY_EXCHANGE_S = 0.5


class AgentWarning(UserWarning):
    """Something about the connection to the agent that deserves a look; training goes on."""


class RefusedError(RuntimeError):
    """The agent understood a request and refused it: the script has to change."""


class AwayError(Exception):
    """The agent could not be reached in time."""


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection whose other end is a unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        # The name is what stands in the `Host` header; nobody looks it up.
        super().__init__("heats", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Opens the socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock

    def be_done_in(self, timeout_s: float) -> None:
        """Sets how long each further wait on the socket may take."""
        self.timeout = timeout_s
        # Open or not: typed as if it always were.
        sock: Optional[socket.socket] = self.sock
        if sock is not None:
            sock.settimeout(timeout_s)


class Agent:
    """One kept-alive connection, shared by all threads of a process; a forked child opens its own."""

    def __init__(self, path: str) -> None:
        """Remembers where the socket is; connects at the first request."""
        self._path = path
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._connection: Optional[_UnixConnection] = None
        self._away_until: Optional[float] = None

    @property
    def is_away(self) -> bool:
        """Whether the last request found nobody."""
        return self._away_until is not None

    def post(self, path: str, body: dict[str, Any], patience_s: float) -> dict[str, Any]:
        """Sends a request that may be repeated, again and again for ``patience_s`` where the agent is away.

        Raises:
            AwayError: nobody answered in time. RefusedError: the answer is that the request is wrong.
        """
        with self._mine():
            return self._ask("POST", path, body, patience_s)

    def get(self, path: str, patience_s: float) -> dict[str, Any]:
        """As ``post``, for a request without a body."""
        with self._mine():
            return self._ask("GET", path, None, patience_s)

    def get_apart(self, path: str, timeout_s: float) -> dict[str, Any]:
        """Asks once, on a connection of its own, so that a long wait keeps nobody else waiting.

        Raises:
            AwayError: nobody answered in time. RefusedError: the answer is that the request is wrong.
        """
        connection = _UnixConnection(self._path, timeout_s)
        try:
            return _exchange(connection, "GET", path, None)
        except (OSError, http.client.HTTPException, _BusyError) as error:
            raise AwayError(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Closes the connection; another request would open it again."""
        with self._mine():
            self._drop()

    def _mine(self) -> threading.Lock:
        if self._owner != os.getpid():
            # After a fork the lock may be held for ever and the socket belongs to the parent: its copy here
            # is closed without a word on the line.
            self._lock = threading.Lock()
            self._owner = os.getpid()
            self._drop()
        return self._lock

    def _ask(self, method: str, path: str, body: Optional[dict[str, Any]], patience_s: float) -> dict[str, Any]:
        started = time.monotonic()
        timeout_s = _EXCHANGE_S
        if self._away_until is not None:
            if started < self._away_until:
                raise AwayError("it was away a moment ago")
            patience_s, timeout_s = 0.0, _AWAY_EXCHANGE_S
        pause_s = _PAUSE_FIRST_S
        while True:
            connection = self._connection or _UnixConnection(self._path, timeout_s)
            self._connection = connection
            reused = connection.sock is not None
            try:
                connection.be_done_in(timeout_s)
                answer = _exchange(connection, method, path, body)
            except RefusedError:
                self._away_until = None
                raise
            except (OSError, http.client.HTTPException, _BusyError) as error:
                self._drop()
                if reused and not isinstance(error, (TimeoutError, _BusyError)):
                    # The other end closed a connection that had been idle: ordinary, and no sign of absence.
                    continue
                left_s = started + patience_s - time.monotonic()
                if left_s <= 0:
                    self._away_until = time.monotonic() + _AWAY_RETRY_S
                    raise AwayError(str(error) or type(error).__name__) from error
                time.sleep(min(pause_s, left_s))
                pause_s = min(pause_s * 2, _PAUSE_LAST_S)
            except BaseException:
                # An interrupt between a request and its answer: the next answer would belong to this one.
                self._drop()
                raise
            else:
                self._away_until = None
                return answer

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _BusyError(Exception):
    """The agent answered that it cannot answer just now."""


def _exchange(connection: _UnixConnection, method: str, path: str, body: Optional[dict[str, Any]]) -> dict[str, Any]:
    payload = None if body is None else json.dumps(body, allow_nan=False).encode()
    headers = {} if payload is None else {"Content-Type": "application/json"}
    connection.request(method, path, payload, headers)
    response = connection.getresponse()
    text = response.read()
    if response.status == 429 or response.status >= 500:
        raise _BusyError(f"status {response.status}: {text.decode(errors='replace')[:200]}")
    if response.status >= 400:
        raise RefusedError(_reason(text) or f"{method} {path} was refused with status {response.status}")
    try:
        answer = json.loads(text or b"{}")
    except ValueError as error:
        raise _BusyError(f"an answer that is no JSON: {text[:200]!r}") from error
    return answer if isinstance(answer, dict) else {}


def _reason(text: bytes) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        return text.decode(errors="replace").strip()[:1000]
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, str) else text.decode(errors="replace")[:1000]
