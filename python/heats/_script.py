"""Runs a script in a process that was forked for it, as ``python script.py`` runs it in a new one."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import io
import os
import signal
import sys
import threading
import types
from importlib.machinery import SourceFileLoader
from typing import NamedTuple, NoReturn, Optional

_MARK = "HEATS_API_SOCK"
_NOT_FLUSHED = 120


class Launch(NamedTuple):
    """What a trial runs, as its supervisor tells it."""

    argv: list[str]
    cwd: str
    env: dict[str, str]


class Start(NamedTuple):
    """What its process was before anybody asked for a trial."""

    # The environment variables that it was started with.
    environ: dict[str, str]
    # What stands for the script's folder in `sys.path`.
    place: str
    # The modules that were imported.
    modules: frozenset[str]


def run(launch: Launch, start: Start) -> NoReturn:
    """Runs the script to its end, and ends the process."""
    os.chdir(launch.cwd)
    _be_told(launch.env, start.environ)
    _forget_chance()
    script = launch.argv[1]
    sys.argv = launch.argv[1:]
    if hasattr(sys, "orig_argv"):  # Since Python 3.10.
        sys.orig_argv[1:] = sys.argv
    folder = os.path.dirname(os.path.realpath(script))
    if start.place in sys.path:
        sys.path[sys.path.index(start.place)] = folder
    code: Optional[int] = 0
    try:
        _execute(script)
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException as error:
        # Without the frames that a process of its own would not have.
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals.get("__name__") != "__main__":
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        code = None if isinstance(error, KeyboardInterrupt) else 1
    _leave(code, folder, start.modules)


def _be_told(env: dict[str, str], before: dict[str, str]) -> None:
    """Sets the variables of the trial. One that was so from the beginning is left as the imports have it now."""
    os.environ.update({name: value for name, value in env.items() if before.get(name) != value})
    # Whoever looks for what a trial has left behind looks for its mark where the kernel shows the variables that a
    # process began with. There is room for it: the template was started with a long one.
    with contextlib.suppress(OSError):  # Where it must not be written, the session still tells.
        _write_mark(f"{_MARK}={env.get(_MARK, '')}".encode())


def _write_mark(mark: bytes) -> None:
    with open("/proc/self/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    begin, end = int(fields[47]), int(fields[48])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        block = memory.read(end - begin)
        place = block.find(_MARK.encode() + b"=")
        room = block.find(b"\0", place) - place
        if place >= 0 and room >= len(mark):
            memory.seek(begin + place)
            memory.write(mark.ljust(room, b"\0"))


def _forget_chance() -> None:
    """Gives the generators that libraries seed when they are imported a seed of this process's own.

    That of ``random`` has one already: Python sees to it at every fork.
    """
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def _execute(script: str) -> None:
    path = os.path.abspath(script)
    loader = SourceFileLoader("__main__", path)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __loader__=loader, __builtins__=builtins, __cached__=None)
    try:
        source = loader.get_data(path)
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    sys.modules["__main__"] = module
    exec(loader.source_to_code(source, path), module.__dict__)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _leave(code: Optional[int], folder: str, imported: frozenset[str]) -> NoReturn:
    """Ends the process; nothing is Ctrl-C.

    Python would take every module apart, and so copy all that is shared with the template: two thirds of what a short
    trial costs. Only what is the script's own is taken apart, and what it left open is written to its end.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    own = [name for name, module in sys.modules.items() if name not in imported and _is_below(module, folder)]
    if threading.active_count() == 1:  # Else a daemon would stumble over it.
        for name in [*own, "__main__"]:
            sys.modules.pop(name).__dict__.clear()
    gc.collect()
    for stream in [thing for thing in gc.get_objects() if isinstance(thing, io.IOBase)] + [sys.stdout, sys.stderr]:
        try:
            if not stream.closed:
                stream.flush()
        except Exception:
            code = _NOT_FLUSHED if code == 0 else code
    if code is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    try:
        import ctypes

        # What libraries in C leave to be done at the end is done, and what they print is printed.
        ctypes.PyDLL(None).exit(code)
    finally:
        os._exit(code or 0)


def _is_below(module: types.ModuleType, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and os.path.realpath(file).startswith(folder + os.sep)
