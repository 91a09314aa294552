"""Mutants, and how they get into a netlist: all at once, to be switched on one at a time.

Each mutated item stands in the netlist twice, right and wrong, behind a multiplexer; the number
of the mutant that is on comes from a file that the simulation reads when it starts. So a bench
is built once for all mutants. A mutant is in every copy of its block, as an error in the block's
source would be.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
import re

from tests.campaigns.mutation import rtlil
from tests.campaigns.mutation.faults import faults
from tests.campaigns.mutation.rtlil import ROOT, Item


__all__ = ["BITS", "Mutant", "items", "instrument", "switch_verilog"]


BITS = 16


@dataclass(frozen=True, order=True)
class Mutant:
    """A fault in the ``nth`` item of ``type`` of that line, in a block."""
    block: str              # module.Class
    place: str              # file:line that the item comes from
    type:  str              # `$add`, `process`
    nth:   int
    fault: str              # of faults.faults
    what:  str              # before → after, in the machine that it was chosen in

    @property
    def kind(self):
        return self.fault.partition(":")[0]

    @property
    def name(self):
        return f"{self.block} {self.place} {self.type}.{self.nth} {self.fault}"

    @property
    def key(self):
        """A name that stays when lines move."""
        where = self.line or self.place.rpartition(":")[0]
        return f"{self.block} `{where}` {self.type}.{self.nth} {self.fault}"

    @property
    def line(self):
        """The source line; empty for one of a library."""
        path, _, number = self.place.rpartition(":")
        if not (ROOT / path).is_file():
            return ""
        return (ROOT / path).read_text(encoding="utf-8").splitlines()[int(number) - 1].strip()


def items(module):
    """``(place, type, nth), item`` of the cells and processes."""
    seen = Counter()
    for item in module.items:
        if item.kind in ("cell", "process") and item.place is not None:
            key = item.place, item.type
            yield (*key, seen[key]), item
            seen[key] += 1


class _Rewriter:
    """One module with mutants: its new wires and items."""
    def __init__(self, module):
        self.module = module
        self.wires  = []
        self.items  = []
        self.count  = 0
        self.number = self.wire(BITS)
        self.items.append(f"  cell \\tern_mutant {self._name()}\n"
                          f"    connect \\number {self.number}\n  end")

    def _name(self):
        self.count += 1
        return f"$mutant${self.count}"

    def wire(self, width):
        name = self._name()
        self.wires.append(f"  wire width {width} {name}")
        self.module.widths[name] = width
        return name

    def connect(self, wire, signal):
        self.items.append(f"connect {wire} {signal}")

    def choose(self, target, width, right, wrong, number):
        """``target`` is ``wrong`` if the mutant ``number`` is on, else ``right``."""
        on = self.wire(1)
        self.items.append(
            f"  cell $eq {self._name()}\n    parameter \\A_SIGNED 0\n    parameter \\B_SIGNED 0\n"
            f"    parameter \\A_WIDTH {BITS}\n    parameter \\B_WIDTH {BITS}\n"
            f"    parameter \\Y_WIDTH 1\n    connect \\A {self.number}\n"
            f"    connect \\B {BITS}'{number:0{BITS}b}\n    connect \\Y {on}\n  end")
        self.items.append(
            f"  cell $mux {self._name()}\n    parameter \\WIDTH {width}\n"
            f"    connect \\A {right}\n    connect \\B {wrong}\n    connect \\S {on}\n"
            f"    connect \\Y {target}\n  end")

    def mutate(self, item, wrong, number):
        """Put ``wrong`` beside ``item``; returns what ``item`` is now."""
        if item.type == "$dff":
            width, d = item.parameter("WIDTH"), self.wire(item.parameter("WIDTH"))
            self.choose(d, width, item.port("D"), Item(wrong).port("D"), number)
            return Item(item.with_port("D", d))
        if item.kind == "cell":
            width = item.parameter("WIDTH" if item.type == "$mux" else "Y_WIDTH")
            pair  = self.wire(width), self.wire(width)
            self.choose(item.port("Y"), width, *pair, number)
            copy  = Item(Item(wrong).with_port("Y", pair[1]))
            self.items.append(re.sub(r"^(  cell \S+) \S+$",
                                     lambda found: f"{found[1]} {self._name()}",
                                     copy.text, count=1, flags=re.MULTILINE))
            return Item(item.with_port("Y", pair[0]))
        (target,) = set(re.findall(r"^ +assign (\S+) ", item.text, re.MULTILINE))
        width = self.module.widths[target]
        pair  = self.wire(width), self.wire(width)
        self.choose(target, width, *pair, number)
        right, wrong = (re.sub(r"(?<= assign )\S+", lambda _, name=name: name, text)
                        for text, name in zip((item.text, wrong), pair))
        self.items.append(re.sub(r"^(  process) \S+$", lambda found: f"{found[1]} {self._name()}",
                                 wrong, count=1, flags=re.MULTILINE))
        return Item(right)


def instrument(text, mutants):
    """Netlist ``text`` with all of ``mutants`` that have their place there, and the set of those.

    Mutant k of the list is on if the number is k + 1.
    """
    by_block, present, out = defaultdict(list), set(), []
    for number, mutant in enumerate(mutants, 1):
        by_block[mutant.block].append((number, mutant))
    for module in rtlil.parse(text):
        rewriter = None
        if module.owner in by_block:
            wanted = defaultdict(list)
            for number, mutant in by_block[module.owner]:
                wanted[mutant.place, mutant.type, mutant.nth].append((number, mutant.fault))
            new = {}
            for key, item in items(module):
                for number, fault in wanted.get(key, ()):
                    if fault in faults(item):
                        rewriter = rewriter or _Rewriter(module)
                        # Of the item as it was, behind what earlier mutants made of it.
                        now = new.get(id(item), item)
                        wrong, _ = faults(now, rewriter)[fault]
                        new[id(item)] = rewriter.mutate(now, wrong, number)
                        present.add(mutants[number - 1])
            if rewriter:
                kept = [new.get(id(item), item).text for item in module.items]
                module.items = [Item(each) for each in
                                [*rewriter.wires, *kept, *rewriter.items]]
        out.append(str(module))
    return "\n".join(out), present


def switch_verilog(path):
    """The module that reads the number of the mutant from the file ``path``; without it, 0."""
    return f"""
module tern_mutant(output reg [{BITS - 1}:0] number);
    integer file, got;
    initial begin
        number = 0;
        file = $fopen("{path}", "r");
        if (file != 0) begin
            got = $fscanf(file, "%d", number);
            $fclose(file);
        end
    end
endmodule
"""
