"""The parameters of a trial: where they come from, and how they are read. Never proposes or checks any."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_HINT = "give it in the sweep file's `space`, or in `heats.trial(defaults={...})`"


class Params(Mapping[str, Any]):
    """The parameters, read-only, as attributes and as items: ``p.lr`` is ``p["lr"]``.

    A name that is also a method of a mapping (``items``, ``get``, ...) or no identifier is read as an item.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Takes a copy of ``values``."""
        object.__setattr__(self, "_values", dict(values))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        # Dunder look-ups by copy and pickle come before the values are there.
        if name.startswith("__") or name == "_values":
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values) or "none"
            raise AttributeError(f"no parameter `{name}` (there are: {known}): {_HINT}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"parameter `{name}` cannot be set: parameters are read-only")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        return "Params(" + ", ".join(f"{name}={value!r}" for name, value in self._values.items()) + ")"

    def __reduce__(self) -> tuple[type[Params], tuple[dict[str, Any]]]:
        return (Params, (dict(self._values),))


def from_argv(defaults: Mapping[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """The ``defaults``, overridden by each ``--name=value`` of ``argv``; what has another form is left alone.

    A value takes the type of its default. A name without a default, or whose default is ``None``, takes the
    type that its text has in JSON, else it is a string. ``--batch-size`` also means ``batch_size``.

    Raises:
        ValueError: a value cannot be read as the type of its default.
    """
    values = dict(defaults)
    for word in argv:
        if not word.startswith("--") or "=" not in word:
            continue
        name, text = word[2:].split("=", 1)
        if name not in values and name.replace("-", "_") in values:
            name = name.replace("-", "_")
        if name:
            values[name] = _read(name, text, values.get(name))
    return values


def _read(name: str, text: str, default: Any) -> Any:
    if default is None:
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return value if isinstance(value, (bool, int, float, str)) else text
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        truth = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
        if truth is None:
            raise ValueError(f"`--{name}={text}`: the default is a bool; write true or false")
        return truth
    for kind in (int, float):
        if isinstance(default, kind):
            try:
                return kind(text)
            except ValueError:
                raise ValueError(f"`--{name}={text}`: the default {default!r} is of type {kind.__name__}") from None
    return text
