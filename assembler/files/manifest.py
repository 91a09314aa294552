"""What a ``manifest.json`` may say: one table, checked when it is read, for all that reads it.

A field may be absent: programs that are no model have few. Whoever needs one asks
:meth:`assembler.files.image.Image.told` for it. A field that is there is what the table says.
"""

import math


__all__ = ["FIELDS", "MODEL", "STREAM", "TENSOR", "check"]


_MOST = 1 << 48            # of any number: more than a memory has bits


def _count(value):
    return type(value) is int and 0 <= value < _MOST


def _text(value):
    return isinstance(value, str)


def _flag(value):
    return type(value) is bool


def _number(value):
    return type(value) in (int, float) and abs(value) < _MOST and math.isfinite(value)


def _object(value):
    return isinstance(value, dict)


def _crc(value):
    return _text(value) and len(value) == 8 and set(value) <= set("0123456789abcdef")


def _tokens(value):
    return value is None or all(map(_count, value if isinstance(value, list) else [value]))


def _list_of(check):
    return lambda value: isinstance(value, list) and all(map(check, value))


def _names_of(check):
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _pair(value):
    return _list_of(_count)(value) and len(value) == 2


def _range(value):
    return _pair(value) and value[0] <= value[1]


# Field: (what it is in words, whether a value is that).
_COUNT, _TEXT = ("a whole number", _count), ("a text", _text)

MODEL = {
    "type": _TEXT, "source": _TEXT, "hidden_size": _COUNT, "intermediate_size": _COUNT,
    "layers": _COUNT, "vocab_size": _COUNT, "use_lower_bound": ("true or false", _flag),
    "bos_token_id": ("a token, several, or null", _tokens),
    "eos_token_id": ("a token, several, or null", _tokens),
    "parameters": _COUNT, "ternary_weights": _COUNT, "zero_weights": _COUNT,
}
STREAM = {"name": _TEXT, "words": _COUNT, "crc32": ("8 hexadecimal digits", _crc)}
TENSOR = {
    "name": _TEXT, "address": _COUNT, "bytes": _COUNT,
    "rows": ("two rising numbers", _range), "columns": _COUNT, "scale": ("a number", _number),
    "shape": ("two numbers", _pair), "pitch": _COUNT,
    "elements": _COUNT,
}
# A tensor is one of these: a matrix (a part of its rows), an embedding, a vector.
_KINDS = (("name", "rows", "columns"), ("name", "shape", "pitch"), ("name", "elements"))
FIELDS = {
    "version": _COUNT, "digest": _TEXT,
    "config": ("an object", _object),           # which assembler.contract.config.Config checks
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


def check(value, rule=FIELDS, where=""):
    """ValueError unless ``value`` is what ``rule`` says: a table of fields, a list of one, or
    (words, function). ``where``: its name, for the message."""
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
