"""The process that warm trials are forked from: it has the imports of their script.

Started by an agent as ``python -c "from heats._template import main; main()" ORDER`` in the folder of the code, never
by people. It imports, looks whether a copy of it is safe, says so over the socket on file descriptor 0, and forks for
every order that comes there.

An order is the path of an attempt's folder with three open files, and its answer a process's id with a handle, as with
the agent's other fork server. What is forked first becomes the attempt's supervisor, the program ``heats``; before that
it forks the trial, whose parent it stays. The trial waits until the supervisor tells it what to run.

With one thread, no lock is held by anybody in the moment of a fork. So a template has one, and checks that.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from heats._imports import Import, Step, Variable, found_in
from heats._script import Launch, Start, run

# Longer than any path.
_ORDER_MAX = 4096
_SUPERVISOR_FAILED = 127
# What a process has mapped or open that has to do with a GPU's driver.
_GPU_LIBRARIES = ("libcuda.so", "libnvidia-ml.so")
_GPU_DEVICES = ("/dev/nvidia", "/dev/kfd")
# Whom the kernel is to kill first when memory runs out: nothing is lost with a template.
_KILLED_FIRST = "1000"


class Order(NamedTuple):
    """What an agent wants of a template."""

    # The program that supervises, and its first arguments.
    supervisor: list[str]
    # The script, by its path from the working folder.
    script: str
    # What to import; nothing is what the script itself imports.
    imports: list[str]
    # How long that may take.
    limit_s: int


class RefusedError(Exception):
    """No trial may be forked from this process, and why."""


def main() -> None:
    """Serves the agent at the other end of standard input until it is gone. In a forked trial, it runs that."""
    link = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    # Ctrl-C in the agent's terminal is the agent's business.
    os.setsid()
    order = Order(**json.loads(sys.argv[1]))
    # An import that never ends must not outlive an agent that was killed.
    signal.alarm(order.limit_s)
    oom_score = _swap_oom_score(_KILLED_FIRST)
    try:
        start = _prepare(order)
        program = os.open(order.supervisor[0], os.O_RDONLY)
    except (RefusedError, OSError) as error:
        link.sendall(str(error).encode()[:_ORDER_MAX])
        return
    signal.alarm(0)
    link.sendall(b"ready")
    launch = _serve(link, lambda path, files: _fork_trial(order, program, oom_score, path, files))
    if launch is not None:
        run(launch, start)


def _prepare(order: Order) -> Start:
    """Imports, and refuses where a copy of what that has made would not be what a trial of its own is."""
    environ = dict(os.environ)
    os.environ.pop("HEATS_API_SOCK", None)  # Room for a mark, see `_script`: it leads nowhere.
    script = Path(order.script).resolve()
    folder = str(script.parent)
    # Its own code is found only where it was asked for: everything else is as if it stood elsewhere.
    place = folder if order.imports else os.devnull
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, place)
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, sys.dont_write_bytecode or bool(order.imports)
    _import([Import(name, ()) for name in order.imports] or found_in(script), must=bool(order.imports))
    sys.dont_write_bytecode = writes_bytecode
    _refuse_a_name_taken(folder, own_are_asked_for=bool(order.imports))
    _refuse_gpus()
    _refuse_threads()
    gc.collect()
    # Nobody looks through what is here already again: what is not written to stays shared.
    gc.freeze()
    return Start(environ=environ, place=place, modules=frozenset(sys.modules))


def _import(steps: Sequence[Step], must: bool) -> None:
    for step in steps:
        if isinstance(step, Variable):
            if step.is_default:
                os.environ.setdefault(step.name, step.value)
            else:
                os.environ[step.name] = step.value
            continue
        try:
            # As the statement does it: of `names`, those that are modules are imported, too.
            __import__(step.module, {}, {}, step.names or ("",), 0)
        except Exception as error:
            # What the script alone asked for fails in the trial as it always did.
            if must:
                raise RefusedError(f"`{step.module}` of `run.imports` cannot be imported: {error!r}") from error
        except SystemExit as error:
            raise RefusedError(f"importing `{step.module}` ends the process") from error
    sys.stdout.flush()
    sys.stderr.flush()


def _refuse_a_name_taken(folder: str, own_are_asked_for: bool) -> None:
    for entry in os.scandir(folder):
        name, kind = os.path.splitext(entry.name)
        if kind != ".py" and not os.path.isfile(os.path.join(entry.path, "__init__.py")):
            continue
        module = sys.modules.get(name)
        if module is None:
            continue
        file = os.path.realpath(getattr(module, "__file__", None) or "")
        if not (own_are_asked_for and file.startswith(folder + os.sep)):
            raise RefusedError(f"`{entry.name}` beside the script bears the name of a module that was imported already")


def _refuse_gpus() -> None:
    with open("/proc/self/maps") as maps:
        mapped = {os.path.basename(line.rstrip().rpartition(" ")[2]) for line in maps}
    used = sorted(name for name in mapped if name.startswith(_GPU_LIBRARIES))
    for fd in os.listdir("/proc/self/fd"):
        try:
            file = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # It was open for the listing alone.
        if file.startswith(_GPU_DEVICES):
            used.append(file)
    if used:
        raise RefusedError(
            f"its imports have turned to the GPUs ({', '.join(used)}): a copy would not see those of its trial"
        )


def _refuse_threads() -> None:
    # Libraries that know of forks end their threads before one, as OpenBLAS does, and start them when they need them.
    copy = os.fork()
    if copy == 0:
        os._exit(0)
    os.waitpid(copy, 0)
    threads = [task for task in os.listdir("/proc/self/task") if int(task) != os.getpid()]
    if threads:
        names = sorted({Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in threads})
        count = f"{len(threads)} threads" if len(threads) > 1 else "a thread"
        raise RefusedError(f"its imports have started {count} ({', '.join(names)}), which a copy would not have")


def _swap_oom_score(score: str) -> str:
    """Sets how soon the kernel kills this process when memory runs out; what it was before."""
    path = Path("/proc/self/oom_score_adj")
    before = path.read_text().strip()
    path.write_text(score)
    return before


def _serve(link: socket.socket, fork: Callable[[str, list[int]], Launch]) -> Optional[Launch]:
    """Obeys orders until the agent is gone: nothing is returned then. In a trial: what it has to run."""
    children: list[int] = []
    while True:
        path, files, _flags, _address = socket.recv_fds(link, _ORDER_MAX, 3)
        if not path:
            return None
        children = [child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0]
        try:
            child = os.fork()
        except OSError as error:
            link.sendall(struct.pack("=i", -(error.errno or 1)))
        else:
            if child == 0:
                link.close()
                return fork(os.fsdecode(path), files)
            children.append(child)
            # Whatever fails from here on ends the template: its agent then looks for the supervisor by itself.
            handle = os.pidfd_open(child, os.O_NONBLOCK)
            socket.send_fds(link, [struct.pack("=i", child)], [handle])
            os.close(handle)
        for file in files:
            os.close(file)


def _fork_trial(order: Order, program: int, oom_score: str, path: str, files: list[int]) -> Launch:
    """Forks the trial and becomes its supervisor; returns in the trial alone."""
    trial = -1
    try:
        _swap_oom_score(oom_score)
        os.setsid()
        for place, file in enumerate(files):
            os.dup2(file, place)
        reads, writes = os.pipe()
        trial = os.fork()
        if trial == 0:
            return _become_trial(reads, [writes, program, *files])
        os.setpgid(trial, trial)  # As the trial does it: signals must find the group, whoever of the two comes first.
        os.set_inheritable(writes, True)
        for fd in os.listdir("/proc/self/fd"):
            if int(fd) > 2 and int(fd) not in (writes, program):
                with contextlib.suppress(OSError):  # One was open for the listing alone.
                    os.close(int(fd))
        os.execve(program, [*order.supervisor, "adopt", str(trial), str(writes), path], {})
    finally:
        if trial != 0:
            os._exit(_SUPERVISOR_FAILED)


def _become_trial(reads: int, theirs: list[int]) -> Launch:
    """Returns once the supervisor tells what to run."""
    os.setpgid(0, 0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    # The lock on the attempt is among them: it is the supervisor's.
    for fd in theirs:
        os.close(fd)
    with open(reads, "rb") as told:
        line = told.readline()
    if not line.endswith(b"\n"):
        os._exit(_SUPERVISOR_FAILED)  # There is nobody to supervise it.
    return Launch(**json.loads(line))
