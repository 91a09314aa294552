"""The fields of ``manifest.json``: one table, which is checked when a manifest is read.

A field may be absent: hand-written programs have few. Code that needs one reads it with
:meth:`assembler.files.image.Image.told`, which reports a missing one. A field that is present has
the form that the table states.
"""

from collections.abc import Callable
import math
from typing import Any


__all__ = ["FIELDS", "MODEL", "STREAM", "TENSOR", "check"]


_Test = Callable[[Any], bool]
_Rule = dict[str, Any] | list[Any] | tuple[str, _Test]      # recursive: see `check`

_MOST = 1 << 48            # bound of all numbers: more than a memory has bits


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _text(value: object) -> bool:
    return isinstance(value, str)


def _flag(value: object) -> bool:
    return type(value) is bool


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _MOST and math.isfinite(value)


def _object(value: object) -> bool:
    return isinstance(value, dict)


def _crc(value: Any) -> bool:
    return _text(value) and len(value) == 8 and set(value) <= set("0123456789abcdef")


def _tokens(value: object) -> bool:
    return value is None or all(map(_count, value if isinstance(value, list) else [value]))


def _list_of(check: _Test) -> _Test:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _names_of(check: _Test) -> _Test:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _pair(value: Any) -> bool:
    return _list_of(_count)(value) and len(value) == 2


def _range(value: Any) -> bool:
    return _pair(value) and value[0] <= value[1]


# Field: (its form in words, a test of a value).
_COUNT, _TEXT = ("a whole number", _count), ("a text", _text)

MODEL: dict[str, _Rule] = {
    "type": _TEXT, "source": _TEXT, "hidden_size": _COUNT, "intermediate_size": _COUNT,
    "layers": _COUNT, "vocab_size": _COUNT,
    "bos_token_id": ("a token, several, or null", _tokens),
    "eos_token_id": ("a token, several, or null", _tokens),
    "parameters": _COUNT, "ternary_weights": _COUNT, "zero_weights": _COUNT,
}
STREAM: dict[str, _Rule] = {"name": _TEXT, "words": _COUNT, "crc32": ("8 hexadecimal digits", _crc)}
TENSOR: dict[str, _Rule] = {
    "name": _TEXT, "address": _COUNT, "bytes": _COUNT,
    "rows": ("two rising numbers", _range), "columns": _COUNT, "scale": ("a number", _number),
    "shape": ("two numbers", _pair), "pitch": _COUNT,
    "elements": _COUNT, "derived": ("true or false", _flag),
}
# A tensor is one of these: a matrix (a range of its rows), an embedding, a vector.
_KINDS = (("name", "rows", "columns"), ("name", "shape", "pitch"), ("name", "elements"))
FIELDS: dict[str, _Rule] = {
    "version": _COUNT, "digest": _TEXT,
    "config": ("an object", _object),           # assembler.contract.config.Config checks it
    "program": ("an object of whole numbers", _names_of(_count)),
    "sections": ("a list of objects", _list_of(_object)),   # image.bin has its own table
    "target": _TEXT,
    "model": MODEL,
    "vocab_size": _COUNT,
    "weight_streams": [STREAM],
    "states_in_registers": ("true or false", _flag),
    "symbols": ("an object of texts", _names_of(_text)),
    "lines": ("a list of whole numbers", _list_of(_count)),
    "tensors": [TENSOR],
}


def check(value: object, rule: _Rule = FIELDS, where: str = "") -> None:
    """Raise ValueError unless ``value`` follows ``rule``.

    A rule is a table (field -> rule), a list of one rule that all entries follow, or a pair
    (form in words, test). ``where``: name of the value, for the message.
    """
    if isinstance(rule, tuple):
        if not rule[1](value):
            raise ValueError(f"{where} is not {rule[0]}")
    elif isinstance(rule, list):
        if not isinstance(value, list):
            raise ValueError(f"{where} is not a list")
        for n, entry in enumerate(value):
            check(entry, rule[0], f"entry {n} of {where}")
    else:
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'it'} is not an object")
        for name in rule.keys() & value.keys():
            check(value[name], rule[name], f"{name} of {where}" if where else name)
        if rule is TENSOR and not any(set(kind) <= value.keys() for kind in _KINDS):
            raise ValueError(f"{where} is no matrix, embedding or vector")
        if rule is STREAM and rule.keys() - value.keys():
            raise ValueError(f"{where} lacks {', '.join(sorted(rule.keys() - value.keys()))}")
