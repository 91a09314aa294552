"""Print digests of machines that do not depend on names: did a change of the code change hardware?

Wires, cells, memories and modules are numbered in the order of their definition, so that only the
structure counts: types and parameters of cells, widths, connections, initial values. A module that
moves, or is split, changes the digest, and so does a field that a layout gains.

    python -m hw digest                                 of every preset
    python -m hw digest --target ulx3s-85f              of one
"""

import hashlib
import re

from amaranth.back import rtlil

from tern_fpga.assembler.console import machines
from tern_fpga.assembler.contract.config import PRESETS
from tern_fpga.hw.core import Core
from tern_fpga.hw.tools.verilog import made


__all__ = ["HELP", "canonical", "digest", "core_digest", "add_arguments", "run"]


HELP = "digests that do not depend on names"

_IDENTIFIER = re.compile(r"[\\$][^\s\[\]{}]+")
_KEPT = {"\\init", "\\keep"}        # attributes that are hardware


class _Module:
    """Names of a module by number."""
    def __init__(self, number):
        self.name  = f"\\m{number}"
        self.names = {}

    def define(self, kind, name):
        self.names[name] = f"\\{kind}{len(self.names)}"


def _modules(lines):
    """{name: _Module}, in the order of the text."""
    found, module = {}, None
    for words in lines:
        match words:
            case ["module", name]:
                module = found[name] = _Module(len(found))
            case ["wire", *_, name]:
                module.define("w", name)
            case ["memory", *_, name]:
                module.define("r", name)
            case ["cell", _, name]:
                module.define("c", name)
            case ["process", name]:
                module.define("p", name)
    return found


def canonical(text):
    """RTLIL without the names that a designer chose, and without what is no hardware."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    modules, out = _modules(lines), []
    module, instance = None, None       # that a line is in; whose ports `connect` names

    def renamed(text, names):
        return _IDENTIFIER.sub(lambda found: names.get(found[0], found[0]), text)

    for words in lines:
        match words:
            case ["attribute", name, *_] if name not in _KEPT:
                continue
            case ["module", name]:
                module = modules[name]
                words  = ["module", module.name]
            case ["cell", kind, name]:
                instance = modules.get(kind)
                words = ["cell", instance.name if instance else kind, module.names[name]]
            case ["connect", port, *value] if instance:
                words = ["connect", instance.names[port], *(
                    renamed(word, module.names) for word in value)]
            case ["parameter", "\\MEMID", value]:   # a name in quotes, its backslash doubled
                name  = value.strip('"').replace("\\\\", "\\")
                words = ["parameter", "\\MEMID", module.names[name]]
            case ["end"]:
                instance = None
            case _:
                words = [words[0], *(renamed(word, module.names if module else {})
                                     for word in words[1:])]
        out.append(" ".join(words))
    return "\n".join(out) + "\n"


def digest(text):
    """64 hexadecimal digits of the structure of RTLIL."""
    return hashlib.sha256(canonical(text).encode()).hexdigest()


def core_digest(config):
    """:func:`digest` of the core of ``config``."""
    return digest(rtlil.convert(Core(config=config), name="core", emit_src=False))


def add_arguments(parser):
    parser.add_argument("--target", choices=PRESETS, action="append",
                        help="default: all; may be repeated")
    machines.add_set(parser)


def run(arguments):
    for target in arguments.target or PRESETS:
        config = machines.chosen(target, arguments.set)
        print(f"{made(lambda config=config: core_digest(config))}  {target}", flush=True)
