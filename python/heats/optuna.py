"""Optuna's storage on a cluster of several coordinators, which rides out the loss of any of them.

``optuna.storages.GrpcStorageProxy`` knows one address, and raises when nobody answers there. This storage is the same
client with all addresses: a call that fails because its coordinator is gone is made again at another one, under the
same number, so that what was carried out is not carried out twice.

    import optuna
    from heats.optuna import HeatsStorage

    storage = HeatsStorage("10.0.0.1:13000", "10.0.0.2:13000", "10.0.0.3:13000")
    study = optuna.create_study(study_name="digits", storage=storage, load_if_exists=True)

It also has heartbeats, which Optuna's own client has not: with an interval, trials whose program is gone are found and
failed by the other programs of the study, and Optuna's callback tries them again.

    storage = HeatsStorage(..., heartbeat_interval=60,
                           heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3))

Needs the packages ``optuna`` (5.0) and ``grpcio``.
"""

from __future__ import annotations

import copy
import os
import time
from typing import Any, Callable

import grpc
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated.api_pb2_grpc import StorageServiceStub
from optuna.storages._grpc.client import GrpcClientCache
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import FrozenTrial, TrialState

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
#: What the system attributes begin with that belong to one trial, and not to the one that tries it again.
OWN = "heats:"
#: The system attribute of a running trial that its program sets anew with each heartbeat.
HEARTBEAT = OWN + "heartbeat"
#: The one that says why Heats, or this storage, has failed a trial.
FAILURE = OWN + "failure"

#: What Optuna calls with a study and a trial of it that has gone stale.
StaleTrialCallback = Callable[["optuna.Study", FrozenTrial], None]


class HeatsStorage(GrpcStorageProxy, BaseHeartbeat):
    """Studies on a cluster, for ``storage=`` of Optuna's functions.

    Args:
        addresses: ``HOST`` or ``HOST:PORT`` of each coordinator's ``--optuna``. One is enough to begin; with all of
            them, the loss of any one is not noticed.
        patience: For how many seconds a call looks for a coordinator that answers before it raises ``grpc.RpcError``.
        heartbeat_interval: Every so many seconds ``study.optimize`` says of a running trial that its program lives, and
            before each trial it fails those of other programs that have gone stale. Without it, neither is done.
        grace_period: A trial is stale when this storage has seen the same heartbeat of it for more than so many
            seconds; twice the interval unless given.
        heartbeat_stale_trial_callback: What is called with each trial that was failed so.

    Raises:
        ValueError: An interval or a grace period that is not above 0.
    """

    def __init__(
        self,
        *addresses: str,
        patience: float = 60.0,
        heartbeat_interval: int | None = None,
        grace_period: int | None = None,
        heartbeat_stale_trial_callback: StaleTrialCallback | None = None,
    ) -> None:
        for name, seconds in (("heartbeat_interval", heartbeat_interval), ("grace_period", grace_period)):
            if seconds is not None and seconds <= 0:
                raise ValueError(f"{name} is a number of seconds above 0")
        self._addresses = [_with_port(address) for address in addresses or ("127.0.0.1",)]
        self._patience = patience
        self._heartbeat_interval = heartbeat_interval
        self._grace_period = grace_period
        self._heartbeat_stale_trial_callback = heartbeat_stale_trial_callback
        host, _, port = self._addresses[0].rpartition(":")
        super().__init__(host=host, port=int(port))

    def _setup(self) -> None:
        self._channel = _Channels(self._addresses, self._patience)
        self._stub = StorageServiceStub(self._channel)
        self._cache = GrpcClientCache(self._stub)
        # Of each study's running trials, the heartbeat that was seen last, and when by this process's clock.
        self._beats: dict[int, dict[int, tuple[Any, float]]] = {}

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Makes a trial. What was said of the one that it tries again is not said of it."""
        if template_trial is not None and any(key.startswith(OWN) for key in template_trial.system_attrs):
            template_trial = copy.copy(template_trial)
            attrs = template_trial.system_attrs.items()
            template_trial.system_attrs = {key: value for key, value in attrs if not key.startswith(OWN)}
        trial_id: int = super().create_new_trial(study_id, template_trial)
        return trial_id

    def record_heartbeat(self, trial_id: int) -> None:
        """Says that a trial's program lives. Where that cannot be said, the next heartbeat says it."""
        try:
            # Any value that is new will do: times of different machines are not compared.
            self.set_trial_system_attr(trial_id, HEARTBEAT, time.time())
        except (UpdateFinishedTrialError, KeyError):
            # It was failed meanwhile, or removed with its study: the program learns that when it tells what came of it.
            pass
        except grpc.RpcError as error:
            if error.code() not in GONE:
                raise

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """The running trials whose heartbeat has not changed for longer than the grace period, each marked as lost.

        Only this process's clock is asked, so that no wrong clock of another machine fails a trial; hence a heartbeat
        is old no sooner than a grace period after it was seen first.
        """
        grace = self._grace_period or 2 * (self._heartbeat_interval or 0)
        before, now = self._beats.get(study_id, {}), time.monotonic()
        beats, stale = {}, []
        for trial in self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,)):
            beat = trial.system_attrs.get(HEARTBEAT)
            if beat is None:
                # Of a program without heartbeats nobody can say whether it lives.
                continue
            seen, since = before.get(trial._trial_id, (beat, now))
            beats[trial._trial_id] = (beat, since if seen == beat else now)
            if seen == beat and now - since > grace:
                stale.append(trial._trial_id)
        self._beats[study_id] = beats
        why = f"node_lost: no heartbeat for more than {grace} s"
        return [trial_id for trial_id in stale if self._mark(trial_id, why)]

    def _mark(self, trial_id: int, why: str) -> bool:
        """Says why a trial will have failed, which cannot be said of one that is over; whether it was not."""
        try:
            self.set_trial_system_attr(trial_id, FAILURE, why)
        except UpdateFinishedTrialError:
            return False
        return True

    def get_heartbeat_interval(self) -> int | None:
        """Every how many seconds a running trial has a heartbeat; ``None`` for never."""
        return self._heartbeat_interval

    def get_heartbeat_stale_trial_callback(self) -> StaleTrialCallback | None:
        """What is called with a trial that has gone stale."""
        return self._heartbeat_stale_trial_callback

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
