"""The text that Amaranth hands to Yosys: as modules and their items, and back."""

from dataclasses import dataclass
import functools
from pathlib import Path
import re


__all__ = ["ROOT", "Item", "Module", "parse", "place", "owner", "without_places"]


ROOT = Path(__file__).parents[3]

_SRC  = re.compile(r'^\s*attribute \\src "(.*)"$', re.MULTILINE)
# Connections of a module stand at the margin.
_NAME = re.compile(r"^ {0,2}(wire|cell|process|memory|connect)\b(.*)$", re.MULTILINE)


def place(src):
    """``/.../hw/common/ram.py:55`` as ``hw/common/ram.py:55``; of a library, without the folders
    above it."""
    path, _, line = src.rpartition(":")
    path = re.sub(rf"^({re.escape(str(ROOT))}/(?!\.)(tern_fpga/)?|.*/site-packages/|"
                  r".*/python3\.\d+/)", "", path)
    return f"{path}:{line}"


@functools.cache
def _classes(path):
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return [(number, found[1]) for number, line in enumerate(lines, 1)
            if (found := re.match(r"class (\w+)", line))]


def owner(where):
    """``module.Class`` whose ``elaborate`` is at ``hw/room/module.py:line``; None outside hw/."""
    path, _, line = where.rpartition(":")
    if not re.fullmatch(r"hw/(\w+/)*\w+\.py", path):
        return None
    name = [name for number, name in _classes(path) if number <= int(line)][-1]
    return f"{Path(path).stem}.{name}"


@dataclass
class Item:
    """A wire, cell, process, memory or connection of a module, with its attributes."""
    text: str

    def __post_init__(self):
        self.kind, rest = _NAME.search(self.text).groups()
        # `$add`, `$dff`; a module's instance has the module's name.
        self.type  = rest.split()[0] if self.kind == "cell" else self.kind
        found      = _SRC.search(self.text)
        self.place = place(found[1]) if found else None

    def parameter(self, name):
        return int(re.search(rf"parameter \\{name} (\d+)$", self.text, re.MULTILINE)[1])

    def port(self, name):
        """What is connected to ``name``; None if nothing is."""
        found = re.search(rf"^    connect \\{name} (.*)$", self.text, re.MULTILINE)
        return found[1] if found else None

    def with_port(self, name, signal):
        return re.sub(rf"^(    connect \\{name}) .*$", lambda found: f"{found[1]} {signal}",
                      self.text, count=1, flags=re.MULTILINE)


@dataclass
class Module:
    head:  str              # attributes and the line `module \name`
    items: list

    def __post_init__(self):
        found      = _SRC.search(self.head)
        self.owner = owner(place(found[1])) if found else None

    @functools.cached_property
    def widths(self):
        """Widths of its wires, by name."""
        found = (re.search(r"^  wire width (\d+) .*?(\S+)$", item.text, re.MULTILINE)
                 for item in self.items if item.kind == "wire")
        return {wire[2]: int(wire[1]) for wire in found}

    def __str__(self):
        return "\n\n".join([self.head, *(item.text for item in self.items)]) + "\nend\n"


def parse(text):
    """Modules of ``text``, in its order."""
    modules = []
    for part in re.split(r"^end$\n?", text, flags=re.MULTILINE):
        pieces = re.split(r"\n\n+", part.strip("\n"))
        if pieces[0]:
            at = next(k for k, piece in enumerate(pieces)
                      if re.search(r"^module ", piece, re.MULTILINE))
            first, *more = pieces[at].split("\n  ", 1)
            items = ["  " + piece for piece in more] + pieces[at + 1:]
            modules.append(Module("\n".join([*pieces[:at], first]),
                                  [Item(piece) for piece in _single(items)]))
    return modules


def _single(pieces):
    """One piece for each item: connections stand together without lines between them."""
    for piece in pieces:
        if len(_NAME.findall(piece)) > 1:
            yield from piece.splitlines()
        elif piece.strip():
            yield piece


def without_places(text):
    return re.sub(r"^\s*attribute \\src .*\n", "", text, flags=re.MULTILINE)
