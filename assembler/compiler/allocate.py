"""Register allocation for named values: liveness over the control flow, then next fit."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tern_fpga.assembler.asm.text import registers_of
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config


__all__ = ["Reg", "Instr", "NoRoom", "allocate"]


class NoRoom(Exception):
    """The values do not fit the registers; the message says which and how many."""


@dataclass(frozen=True)
class Reg:
    """A value in registers.

    ``space``: ``v``, ``u``, ``s`` or ``q``; ``elements``: its length. ``within``: the value whose
    registers it is a part of, from the one with the number ``offset`` on.
    """
    space: str
    name: str
    elements: int = 1
    indexed: bool = False
    within: "Reg | None" = None
    offset: int = 0

    def __str__(self) -> str:
        return self.name + "+x" * self.indexed


@dataclass
class Instr:
    """An instruction over named values.

    ``operands``: field name -> Reg, number or text. ``stat``: None or (name, Reg). In the text,
    ``labels`` and the comment ``note`` precede the instruction.
    """
    mnemonic: str
    operands: dict[str, Reg | int | str] = field(default_factory=dict)
    stat: tuple[str, Reg] | None = None
    labels: tuple[str, ...] = ()
    note: str = ""

    def uses(self) -> set[str]:
        """Names of the values that it reads."""
        read = {self.operands.get(f) for f in isa.lookup(self.mnemonic).reads}
        return {r.name for r in read if isinstance(r, Reg)}

    def defines(self) -> set[str]:
        """Names of the values that it writes."""
        written = {self.operands.get(f) for f in isa.lookup(self.mnemonic).writes}
        names = {r.name for r in written if isinstance(r, Reg)}
        return names | {self.stat[1].name} if self.stat else names

    def registers(self) -> list[Reg]:
        """All its register operands."""
        found = [v for v in self.operands.values() if isinstance(v, Reg)]
        return found + [self.stat[1]] if self.stat else found


def _successors(code: Sequence[Instr]) -> Iterator[list[int]]:
    """For each instruction, the indices of those that may follow it."""
    labels = {label: n for n, instr in enumerate(code) for label in instr.labels}
    for n, instr in enumerate(code):
        target = instr.operands.get("target")
        after = [] if instr.mnemonic in ("jump", "halt") else [n + 1]
        yield [*after, labels[str(target)]] if target is not None else after


def _occupied(code: Sequence[Instr]) -> dict[str, int]:
    """Value -> bit mask of the instructions at which it occupies its registers.

    An operand that is last read by an instruction does not share a register with the result of that
    instruction. Their elements may be at different offsets (spaces u and v differ), so a result
    could overwrite an element before it is read.
    """
    successors = list(_successors(code))
    uses, defines = [i.uses() for i in code], [i.defines() for i in code]
    live_in: list[set[str]] = [set() for _ in code]
    live_out: list[set[str]] = [set() for _ in code]
    changed = True
    while changed:
        changed = False
        for n in reversed(range(len(code))):
            live_out[n] = set[str]().union(*(live_in[k] for k in successors[n] if k < len(code)))
            new = uses[n] | live_out[n] - defines[n]
            changed |= new != live_in[n]
            live_in[n] = new
    masks: dict[str, int] = {}
    for n in range(len(code)):
        for name in live_in[n] | live_out[n] | defines[n]:
            masks[name] = masks.get(name, 0) | 1 << n
    return masks


def _place(values: Iterable[tuple[str, int, int]], limit: int,
           rotate: bool) -> dict[str, int] | None:
    """Name -> first register, or None if they do not fit. ``values``: (name, size, mask).

    With ``rotate``, the search begins after the value placed last. A register is then written again
    as late as possible, so that a unit rarely waits for another unit that still reads it.
    """
    taken, cursor = [0] * limit, 0
    places: dict[str, int] = {}
    for name, size, mask in values:
        starts: Sequence[int] = range(limit - size + 1)
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


def allocate(code: Sequence[Instr], config: Config, pinned: Collection[str] = ()) -> dict[str, int]:
    """Register numbers for all values of a program.

    Parameters
    ----------
    code : list of Instr
    config : Config
    pinned : iterable of str
        Values that are kept from step to step: nothing else uses their registers.

    Returns
    -------
    dict
        Name -> number of the first register in its register file.

    Raises
    ------
    NoRoom
        A register file is too small.
    """
    masks = _occupied(code)
    everywhere = (1 << len(code)) - 1
    registers: dict[str, Reg] = {}
    parts: dict[str, Reg] = {}
    for instr in code:
        for reg in instr.registers():
            whole = reg.within or reg
            if registers.setdefault(whole.name, whole).elements != whole.elements:
                raise ValueError(f"two values of different lengths are called {whole.name}")
            if reg.within:
                parts[reg.name] = reg
    places: dict[str, int] = {}
    for spaces, limit, title in (("vu", config.registers, "vector"),
                                 ("q", config.code_registers, "code"),
                                 ("s", isa.SCALARS, "scalar")):
        values = [(name, registers_of(reg.space, reg.elements, config),
                   everywhere if name in pinned else masks[name])
                  for name, reg in registers.items() if reg.space in spaces]
        packed = sorted(values, key=lambda value: -value[1])
        # Place long-lived values first, while consecutive registers are still free.
        values.sort(key=lambda value: 2 * value[2].bit_count() < len(code))
        found = (_place(values, limit, True) or _place(packed, limit, True)
                 or _place(packed, limit, False))
        if found is None and values:
            need = max(sum(size for _, size, mask in values if mask >> n & 1)
                       for n in range(len(code)))
            raise NoRoom(f"the layer program needs {max(need, limit + 1)} {title} registers, "
                         f"the target has {limit}")
        places |= found or {}
    for name, reg in parts.items():
        assert reg.within
        places[name] = places[reg.within.name] + reg.offset
    return places
