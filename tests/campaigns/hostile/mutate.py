"""Makes hostile values from good ones; everything is drawn from one seeded generator."""

import copy
import json


__all__ = ["Raw", "INTEGERS", "STRINGS", "VALUES", "damaged", "value", "changed_tree", "as_json"]


INTEGERS = (-1, 0, 1, 2, 3, 7, 127, 255, 256, 4096, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31,
            1 << 32, 1 << 40, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10 ** 30,
            -(1 << 31), -(1 << 63))
STRINGS = ("", "x", "..", "../beside/model.safetensors", "/etc/passwd", "a/b", "\0", "a\0b",
           "\x1b[2J\x1b[31m", "two\nlines", "\u2028\u202e", "\ud800", "\ufeff", "९", "٣",
           "n" * 5000,
           "%s%n{0}{x!r}", "__proto__", "nan", "1e999", "-0", "0x10", "1_000", "config.json", ".")
VALUES = (None, True, False, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), -float("inf"),
          [], {}, [[]], [1], [None] * 40, {"a": {"b": 1}}, [{}, "x"])


class Raw(str):
    """Text that goes into JSON as it stands."""


class _Twin(str):
    """A key beside its equal."""
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


_RAW = (Raw("[" * 200_000), Raw("[" * 900 + "]" * 900), Raw('{"a":' * 5000 + "1" + "}" * 5000),
        Raw("1" * 5000), Raw("1" * 4000), Raw("-"), Raw("1e5"), Raw("1E400"), Raw("NaN"),
        Raw("Infinity"), Raw("tru"), Raw('"'), Raw("'a'"), Raw(""), Raw("0x10"), Raw("01"),
        Raw('"\\ud83d"'), Raw('"\\u0000"'), Raw('{"a": 1, "a": 2}'))


def damaged(data, rng):
    """Bytes with a few of them changed, lost, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        stop = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 40, len(data))))
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at:stop] = bytes([rng.choice((0, 0xff, 0x80, 0x7f, 0x20))]) * (stop - at)
            case 2:
                del data[at:stop]
            case 3:
                data[at:at] = data[at:stop]
            case 4:
                data[at:at] = rng.randbytes(rng.choice((1, 3, 16, 300)))
            case 5:
                number = rng.choice(INTEGERS) & (1 << 64) - 1
                size = rng.choice((1, 2, 4, 8))
                data[at:at + size] = number.to_bytes(8, "little")[:size]
            case 6:
                del data[at:]
            case _:
                data[at:stop] = rng.randbytes(stop - at)
    return bytes(data)


def _places(tree, path=()):
    """Paths to everything inside a JSON value."""
    if path:
        yield path
    for key, value in (tree.items() if isinstance(tree, dict) else
                       enumerate(tree) if isinstance(tree, list) else ()):
        yield from _places(value, (*path, key))


def value(rng):
    """A value that nobody expects."""
    return rng.choice((rng.choice(INTEGERS), rng.choice(STRINGS), rng.choice(VALUES),
                       rng.choice(_RAW), rng.choice(_RAW)))


def changed_tree(tree, rng, depth=99):
    """A JSON value with one to three places changed, not deeper than ``depth``."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = [path for path in _places(tree) if len(path) <= depth]
        if not places:
            return tree
        *path, last = rng.choice(places)
        parent = tree
        for key in path:
            parent = parent[key]
        match rng.randrange(6):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[rng.choice(STRINGS)] = parent.pop(last)
            case 2 if isinstance(parent, dict):
                parent[_Twin(last)] = value(rng)
            case 3 if isinstance(parent, list):
                parent.insert(last, copy.deepcopy(rng.choice(parent)))
            case _:
                parent[last] = value(rng)
    return tree


def as_json(tree):
    """Bytes of a tree, with what is :class:`Raw` in it."""
    def text(node):
        if isinstance(node, Raw):
            return str(node)
        if isinstance(node, dict):
            return "{" + ", ".join(f"{json.dumps(str(k))}: {text(v)}"
                                   for k, v in node.items()) + "}"
        if isinstance(node, list):
            return "[" + ", ".join(map(text, node)) + "]"
        return json.dumps(node)
    return text(tree).encode("utf-8", "surrogatepass")
