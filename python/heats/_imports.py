"""What a script imports when it starts, found by reading it: nothing of it is run.

Follows the script's own modules, those in its folder, to what they import in turn; these themselves are not listed,
for they are the user's code, which every trial runs itself. What stands in a function, a class or a condition is not
looked at.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional, Union

# More modules of its own than any script has; what lies beyond is imported by each trial.
_OWN_MODULES_MAX = 500


class Import(NamedTuple):
    """`import module`, or `from module import names`."""

    module: str
    names: tuple[str, ...]


class Variable(NamedTuple):
    """`os.environ[name] = value`; as a default by `os.environ.setdefault(name, value)`."""

    name: str
    value: str
    is_default: bool


Step = Union[Import, Variable]


def found_in(script: Path) -> list[Step]:
    """What the file `script` and its own modules import of others, in their order, each once.

    With it come the environment variables that are set to constants before: libraries read such when they are imported.
    """
    reader = _Reader(script.parent)
    reader.read(script, package="")
    steps = list(dict.fromkeys(reader.steps))
    while steps and isinstance(steps[-1], Variable):
        steps.pop()
    return steps


class _Reader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[Path] = set()
        self.steps: list[Step] = []

    def read(self, file: Path, package: str) -> None:
        """Reads a file, and its own modules where it imports them."""
        if file in self.seen or len(self.seen) >= _OWN_MODULES_MAX:
            return
        self.seen.add(file)
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except (OSError, SyntaxError, ValueError, RecursionError):
            return  # The trial says so when it runs it.
        for statement in _top_level(tree.body):
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    self.note(Import(alias.name, ()))
            elif isinstance(statement, ast.ImportFrom):
                module = _absolute(statement, package)
                if module and module != "__future__":
                    self.note(Import(module, tuple(alias.name for alias in statement.names if alias.name != "*")))
            else:
                variable = _variable(statement)
                if variable:
                    self.steps.append(variable)

    def note(self, found: Import) -> None:
        """Follows an import of one of its own modules, and keeps any other."""
        parts = found.module.split(".")
        if not self.own(parts[:1]):
            self.steps.append(found)
            return
        names = [parts[: end + 1] for end in range(len(parts))] + [[*parts, name] for name in found.names]
        for name in names:
            own = self.own(name)
            if own:
                is_package = own.name == "__init__.py"
                self.read(own, package=".".join(name if is_package else name[:-1]))

    def own(self, parts: list[str]) -> Optional[Path]:
        """The file of one of its own modules."""
        path = self.folder.joinpath(*parts)
        for file in (path / "__init__.py", path.with_name(path.name + ".py")):
            if file.is_file():
                return file
        return None


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.Try):
            # `try: import fast except ImportError: import slow`: the second is for where there is no first.
            yield from _top_level(statement.body)
        else:
            yield statement


def _absolute(statement: ast.ImportFrom, package: str) -> str:
    """The module's whole name; nothing where it leads out of the script's folder."""
    if not statement.level:
        return statement.module or ""
    parts = package.split(".") if package else []
    above = statement.level - 1
    if above >= len(parts):
        return ""
    return ".".join(parts[: len(parts) - above] + ([statement.module] if statement.module else []))


def _variable(statement: ast.stmt) -> Optional[Variable]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Subscript) and _is_environ(target.value):
            return _of_constants(target.slice, statement.value, is_default=False)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        function = call.func
        if len(call.args) != 2 or call.keywords or not isinstance(function, ast.Attribute):
            return None
        if function.attr == "setdefault" and _is_environ(function.value):
            return _of_constants(call.args[0], call.args[1], is_default=True)
    return None


def _is_environ(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "environ"
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    )


def _of_constants(name: ast.expr, value: ast.expr, is_default: bool) -> Optional[Variable]:
    if not (isinstance(name, ast.Constant) and isinstance(value, ast.Constant)):
        return None
    if not (isinstance(name.value, str) and isinstance(value.value, str)):
        return None
    return Variable(name.value, value.value, is_default)
