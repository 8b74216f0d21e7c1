"""What a report may contain, and how it is written as JSON. Sends nothing."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any, Union

JsonNumber = Union[float, str]

# Steps are unsigned 64-bit integers in the protocol.
_STEP_MAX = 2**64 - 1


def checked_step(step: Any) -> int:
    """The step as an ``int``; NumPy integers are fine.

    Raises:
        TypeError: not a whole number. ValueError: negative, or larger than 64 bits.
    """
    if isinstance(step, bool):
        raise TypeError("the step must be a whole number, not a bool")
    try:
        number = operator.index(step)
    except TypeError:
        raise TypeError(f"the step must be a whole number, not {type(step).__name__}") from None
    if not 0 <= number <= _STEP_MAX:
        raise ValueError(f"the step must be between 0 and 2**64 - 1, not {number}")
    return number


def checked_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics as floats: from numbers, NumPy scalars, tensors of one element, whatever has ``__float__``.

    Raises:
        TypeError: no metrics at all, a name that is no text, or a value that is no number. ValueError: the
        name is empty or `step`, or a value is too large for a float.
    """
    if not metrics:
        raise TypeError("a report needs at least one metric, as in `report(step, loss=0.1)`")
    return {_name(name): _number(name, value) for name, value in metrics.items()}


def as_json(value: float) -> JsonNumber:
    """JSON has no NaN and no infinities: the protocol takes these as strings."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a metric's name must be a string, not {type(name).__name__}")
    if not name:
        raise ValueError("a metric's name must not be empty")
    if name == "step":
        raise ValueError("`step` is the report's step; name the metric otherwise")
    return name


def _number(name: str, value: Any) -> float:
    kind = type(value).__name__
    # float() would take these, and hardly ever as they were meant; `bool_` and `bool` are also NumPy's.
    if isinstance(value, (str, bytes, bytearray)) or kind in ("bool", "bool_"):
        raise TypeError(f"metric `{name}` must be a number, not {kind}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"metric `{name}` is too large for a float") from None
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"metric `{name}` must be one number, not {kind}") from None
