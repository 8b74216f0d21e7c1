"""Optuna's storage on a cluster of several coordinators, which rides out the loss of any of them.

``optuna.storages.GrpcStorageProxy`` knows one address, and raises when nobody answers there. This storage is the same
client with all addresses: a call that fails because its coordinator is gone is made again at another one, under the
same number, so that what was carried out is not carried out twice.

    import optuna
    from heats.optuna import HeatsStorage

    storage = HeatsStorage("10.0.0.1:13000", "10.0.0.2:13000", "10.0.0.3:13000")
    study = optuna.create_study(study_name="digits", storage=storage, load_if_exists=True)

Needs the packages ``optuna`` (5.0) and ``grpcio``.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated.api_pb2_grpc import StorageServiceStub
from optuna.storages._grpc.client import GrpcClientCache

#: Where Optuna's own client looks, unless told otherwise.
PORT = 13000
#: The metadata key of a call's number.
REQUEST_KEY = "heats-request-bin"
#: What says that a coordinator is gone, or knows nobody who leads; anything else is an answer.
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
#: How long an attempt may take, in seconds: longer than an election, and than the largest answer needs.
ATTEMPT = 30.0
#: How long to wait after every coordinator was asked in vain, in seconds.
PAUSE = 0.2
#: A connection on which nothing is heard for so long is given up, in milliseconds.
KEEPALIVE_MS = 5_000


class HeatsStorage(GrpcStorageProxy):
    """Studies on a cluster, for ``storage=`` of Optuna's functions.

    Args:
        addresses: ``HOST`` or ``HOST:PORT`` of each coordinator's ``--optuna``. One is enough to begin; with all of
            them, the loss of any one is not noticed.
        patience: For how many seconds a call looks for a coordinator that answers before it raises ``grpc.RpcError``.
    """

    def __init__(self, *addresses: str, patience: float = 60.0) -> None:
        self._addresses = [_with_port(address) for address in addresses or ("127.0.0.1",)]
        self._patience = patience
        host, _, port = self._addresses[0].rpartition(":")
        super().__init__(host=host, port=int(port))

    def _setup(self) -> None:
        self._channel = _Channels(self._addresses, self._patience)
        self._stub = StorageServiceStub(self._channel)
        self._cache = GrpcClientCache(self._stub)

    def wait_server_ready(self, timeout: float | None = None) -> None:
        """Waits until a coordinator answers.

        Args:
            timeout: For how many seconds; the storage's patience unless given.

        Raises:
            ConnectionError: None does.
        """
        patience = self._patience if timeout is None else timeout
        storage = HeatsStorage(*self._addresses, patience=patience)
        try:
            storage.get_all_studies()
        except grpc.RpcError as error:
            raise ConnectionError(f"no coordinator answers at {', '.join(self._addresses)}") from error
        finally:
            storage.close()


class _Channels:
    """What a stub takes for its channel: one to each coordinator; the one that answered last is asked first."""

    def __init__(self, addresses: list[str], patience: float) -> None:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
            # Each has a connection of its own, also to an address that another storage of this process uses.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._channels = [grpc.insecure_channel(address, options=options) for address in addresses]
        self._patience = patience
        self._first = 0

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """The call of a method, as a stub asks for it."""
        calls = [channel.unary_unary(method, *args, **kwargs) for channel in self._channels]
        return lambda request: self._ask(calls, request)

    def _ask(self, calls: list[Callable[..., Any]], request: Any) -> Any:
        number = os.urandom(8)
        until = time.monotonic() + self._patience
        while True:
            first = self._first
            for place in range(len(calls)):
                choice = (first + place) % len(calls)
                left = max(until - time.monotonic(), 0.001)
                try:
                    answer = calls[choice](request, timeout=min(ATTEMPT, left), metadata=[(REQUEST_KEY, number)])
                except grpc.RpcError as error:
                    if error.code() not in GONE or time.monotonic() >= until:
                        raise
                else:
                    self._first = choice
                    return answer
            time.sleep(PAUSE)

    def close(self) -> None:
        """Closes all."""
        for channel in self._channels:
            channel.close()


def _with_port(address: str) -> str:
    return address if address.rpartition(":")[2].isdigit() else f"{address}:{PORT}"
