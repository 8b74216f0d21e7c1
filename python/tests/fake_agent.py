"""An agent's side of door 2, for tests: HTTP over a unix socket, recording what it is told. Judges nothing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Optional


@dataclass
class Record:
    """What an agent was told, and how it answers."""

    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    connections: int = 0
    stop_from_step: Optional[int] = None
    params: dict[str, Any] = field(default_factory=dict)
    # Statuses to answer with before answering properly.
    statuses: list[int] = field(default_factory=list)
    # Held by a test to keep `/v1/stop` waiting.
    stop_asked: threading.Event = field(default_factory=threading.Event)
    answer_stop: threading.Event = field(default_factory=threading.Event)

    def bodies(self, path: str) -> list[Any]:
        return [body for _, where, body in self.requests if where == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Agent

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.record.requests.append(("POST", self.path, body))
        stop_from = self.server.record.stop_from_step
        stop = self.path == "/v1/report" and stop_from is not None and body["step"] >= stop_from
        self._answer({"action": "stop" if stop else "continue"} if self.path == "/v1/report" else {})

    def do_GET(self) -> None:
        record = self.server.record
        record.requests.append(("GET", self.path, None))
        if self.path == "/v1/params":
            self._answer(record.params)
        else:
            record.stop_asked.set()
            record.answer_stop.wait(10)
            self._answer({"action": "stop"})

    def _answer(self, body: Any) -> None:
        statuses = self.server.record.statuses
        status = statuses.pop(0) if statuses else 200
        payload = json.dumps(body if status == 200 else {"error": f"refused with {status}"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Agent(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, record: Record) -> None:
        path.unlink(missing_ok=True)
        self.record = record
        self.open: list[socket.socket] = []
        super().__init__(os.fspath(path), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = super().get_request()
        self.record.connections += 1
        self.open.append(connection)
        return connection, ("trial", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def stop(self) -> None:
        """Ends as a killed process does: every connection breaks, the socket's file stays."""
        self.shutdown()
        self.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextlib.contextmanager
def running(path: Path, record: Record) -> Iterator[Agent]:
    agent = Agent(path, record)
    try:
        yield agent
    finally:
        agent.stop()
