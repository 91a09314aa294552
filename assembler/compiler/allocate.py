"""Registers for named values: liveness over the program's flow, then next fit."""

from dataclasses import dataclass, field

from tern_fpga.assembler.asm.text import registers_of
from tern_fpga.assembler.contract import isa


__all__ = ["Reg", "Instr", "NoRoom", "allocate"]


class NoRoom(Exception):
    """The values do not fit the registers; the message says which and how many."""


@dataclass(frozen=True)
class Reg:
    """A value in registers. ``space``: ``v``, ``u``, ``s`` or ``q``; ``elements``: its length."""
    space: str
    name: str
    elements: int = 1
    indexed: bool = False

    def __str__(self):
        return self.name + "+x" * self.indexed


@dataclass
class Instr:
    """An instruction over named values.

    ``operands``: field name -> Reg, number or text. ``stat``: None or (name, Reg). ``labels``
    stand before it; ``note`` is a comment line above it.
    """
    mnemonic: str
    operands: dict = field(default_factory=dict)
    stat: tuple[str, Reg] | None = None
    labels: tuple[str, ...] = ()
    note: str = ""

    def uses(self):
        """Names of the values that it reads."""
        read = {self.operands.get(f) for f in isa.lookup(self.mnemonic).reads}
        return {r.name for r in read if isinstance(r, Reg)}

    def defines(self):
        """Names of the values that it writes."""
        written = {self.operands.get(f) for f in isa.lookup(self.mnemonic).writes}
        names = {r.name for r in written if isinstance(r, Reg)}
        return names | {self.stat[1].name} if self.stat else names

    def registers(self):
        """All its register operands."""
        found = [v for v in self.operands.values() if isinstance(v, Reg)]
        return found + [self.stat[1]] if self.stat else found


def _successors(code):
    labels = {label: n for n, instr in enumerate(code) for label in instr.labels}
    for n, instr in enumerate(code):
        target = instr.operands.get("target")
        after = [] if instr.mnemonic in ("jump", "halt") else [n + 1]
        yield [*after, labels[target]] if target is not None else after


def _occupied(code):
    """Value -> bit mask of the instructions at which its registers are taken.

    An operand that dies where the result is born does not share its register with it: their
    elements need not lie in step.
    """
    successors = list(_successors(code))
    uses, defines = [i.uses() for i in code], [i.defines() for i in code]
    live_in = [set() for _ in code]
    live_out = [set() for _ in code]
    changed = True
    while changed:
        changed = False
        for n in reversed(range(len(code))):
            live_out[n] = set().union(*(live_in[k] for k in successors[n] if k < len(code)))
            new = uses[n] | live_out[n] - defines[n]
            changed |= new != live_in[n]
            live_in[n] = new
    masks = {}
    for n in range(len(code)):
        for name in live_in[n] | live_out[n] | defines[n]:
            masks[name] = masks.get(name, 0) | 1 << n
    return masks


def _place(values, limit, rotate):
    """Name -> first register, or None if they do not fit. ``values``: (name, size, mask).

    ``rotate`` goes on after the value placed last, so that a register rests for long before it
    is written again: a unit that runs ahead must not wait for one that still reads it.
    """
    taken, places, cursor = [0] * limit, {}, 0
    for name, size, mask in values:
        starts = range(limit - size + 1)
        if rotate:
            starts = [*starts[cursor:], *starts[:cursor]]
        for first in starts:
            if not any(taken[r] & mask for r in range(first, first + size)):
                break
        else:
            return None
        places[name] = first
        cursor = first + size
        for r in range(first, first + size):
            taken[r] |= mask
    return places


def allocate(code, config, pinned=()):
    """Register numbers for all values of a program.

    Parameters
    ----------
    code : list of Instr
    config : Config
    pinned : iterable of str
        Values that outlive a step: their registers hold nothing else.

    Returns
    -------
    dict
        Name -> number of the first register in its file.

    Raises
    ------
    NoRoom
        A register file is too small.
    """
    masks = _occupied(code)
    everywhere = (1 << len(code)) - 1
    registers = {}
    for instr in code:
        for reg in instr.registers():
            registers.setdefault(reg.name, reg)
    places = {}
    for spaces, limit, title in (("vu", config.registers, "vector"),
                                 ("q", config.code_registers, "code"),
                                 ("s", isa.SCALARS, "scalar")):
        values = [(name, registers_of(reg.space, reg.elements, config),
                   everywhere if name in pinned else masks[name])
                  for name, reg in registers.items() if reg.space in spaces]
        packed = sorted(values, key=lambda value: -value[1])
        # Long-lived values first, or rotation would have touched all registers before them.
        values.sort(key=lambda value: 2 * value[2].bit_count() < len(code))
        found = (_place(values, limit, True) or _place(packed, limit, True)
                 or _place(packed, limit, False))
        if found is None and values:
            need = max(sum(size for _, size, mask in values if mask >> n & 1)
                       for n in range(len(code)))
            raise NoRoom(f"the layer program needs {max(need, limit + 1)} {title} registers, "
                         f"the target has {limit}")
        places |= found or {}
    return places
