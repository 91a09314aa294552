"""Is a mutant of a block's netlist the same machine? Yosys' answer: yes, or that it cannot tell.

Both netlists of the block have the names of all wires and registers in common. Each pair that must
be equal is assumed to have been so for some cycles and shown for the next.
"""

from pathlib import Path
import re
import tempfile

from tern_fpga.hw.tools.yosys import ToolError, run_tool
from tests.campaigns.mutation import rtlil
from tests.campaigns.mutation.mutants import BITS, instrument


__all__ = ["same"]


_SCRIPT = """
{reads}
design -reset
design -copy-from right -as right right
design -copy-from wrong -as wrong wrong
equiv_make right wrong both
hierarchy -top both
clean
equiv_simple -short
equiv_induct -seq {cycles}
equiv_status -assert
"""
_READ = """
design -reset
read_rtlil {name}.il
hierarchy -top {top}
proc
flatten
memory -nomap
memory_map
opt -full
rename {top} {name}
design -stash {name}
"""


def same(texts, mutant, cycles=8):
    """Whether Yosys shows that ``mutant`` changes no output of its block, in the first place of
    ``texts`` that has it."""
    for text in texts:
        for module in rtlil.parse(text):
            if module.owner == mutant.block and instrument(str(module), [mutant])[1]:
                top = re.search(r"^module (\S+)", module.head, re.MULTILINE)[1]
                return _same(text, top, mutant, cycles)
    raise ValueError(f"{mutant.name} is in none of the netlists")


def _same(text, top, mutant, cycles):
    inside = [str(each) for each in rtlil.parse(text)
              if re.search(rf"^module {re.escape(top)}(\.\S+)?$", each.head, re.MULTILINE)]
    both, _ = instrument("\n".join(inside), [mutant])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, name in enumerate(("right", "wrong")):
            fixed = re.sub(r"^  cell \\tern_mutant \S+\n    connect \\number (\S+)\n  end$",
                           rf"connect \1 {BITS}'{number:0{BITS}b}", both, flags=re.MULTILINE)
            (folder / f"{name}.il").write_text(rtlil.without_places(fixed), encoding="utf-8")
        reads = "".join(_READ.format(name=name, top=top) for name in ("right", "wrong"))
        (folder / "prove.ys").write_text(_SCRIPT.format(reads=reads, cycles=cycles), "utf-8")
        try:
            run_tool("yosys", "prove.ys", folder=folder)
        except ToolError:
            log = (folder / "yosys.log").read_text(encoding="utf-8")
            if "ERROR: Found" not in log:
                raise RuntimeError(log[-2000:]) from None
            return False
    return True
