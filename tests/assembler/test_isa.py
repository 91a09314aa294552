from dataclasses import replace

import pytest

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.isa import Operand, Space


def test_every_word_round_trips():
    for instr in isa.INSTRUCTIONS:
        for bit in (None, *range(isa.OPCODE.lo)):
            fields = [f for f in instr.fields if bit is None or f.lo <= bit <= f.hi]
            operands = {f.name: f.least for f in instr.fields}
            rest = sum(f.least << f.lo for f in instr.fields if f not in fields)
            for f in fields:
                value = (1 << f.width) - 1 if bit is None else 1 << bit - f.lo
                operands[f.name] = value
            word = isa.encode(instr.mnemonic, **operands)
            assert word >> isa.OPCODE.lo == instr.opcode
            mnemonic, decoded = isa.decode(word)
            assert mnemonic == instr.mnemonic
            bits = {k: v.to_bits() if isinstance(v, Operand) else v for k, v in decoded.items()}
            assert bits == operands
            if bit is not None:
                assert word & (1 << isa.OPCODE.lo) - 1 == rest + (1 << bit if fields else 0)


def test_operands_take_only_their_spaces():
    for instr in isa.INSTRUCTIONS:
        spaces = dict(instr.spaces)
        for name, letters in spaces.items():
            for space in Space:
                operands = {f.name: f.least for f in instr.fields} | {name: Operand(space, 1)}
                if "vus_"[space] in letters:
                    word = isa.encode(instr.mnemonic, **operands)
                    assert isa.decode(word)[1][name] == Operand(space, 1)
                else:
                    with pytest.raises(ValueError, match=f"{instr.mnemonic} {name} takes one of"):
                        isa.encode(instr.mnemonic, **operands)


def test_wide_operands_are_refused():
    for instr in isa.INSTRUCTIONS:
        for f in instr.fields:
            operands = {g.name: g.least for g in instr.fields} | {f.name: 1 << f.width}
            with pytest.raises(ValueError, match="does not fit"):
                isa.encode(instr.mnemonic, **operands)


def test_counts_of_nothing_are_refused():
    found = 0
    for instr in isa.INSTRUCTIONS:
        word = isa.encode(instr.mnemonic, **{f.name: f.least for f in instr.fields})
        for f in (f for f in instr.fields if f.least):
            found += 1
            operands = {g.name: g.least for g in instr.fields} | {f.name: f.least - 1}
            message = f"{instr.mnemonic} {f.name} must be at least {f.least}, not {f.least - 1}"
            with pytest.raises(ValueError, match=message):
                isa.encode(instr.mnemonic, **operands)
            with pytest.raises(ValueError, match=message):
                isa.decode(word - (1 << f.lo))
    assert found == 3 + 8 + 2       # memory, vector, array


def test_missing_and_extra_operands_are_refused():
    with pytest.raises(ValueError, match="jump takes"):
        isa.encode("jump")
    with pytest.raises(ValueError, match="halt takes"):
        isa.encode("halt", n=1)
    with pytest.raises(ValueError, match="no instruction 'frob'"):
        isa.lookup("frob")


def test_unassigned_opcodes_are_refused():
    known = {i.opcode for i in isa.INSTRUCTIONS}
    for opcode in set(range(1 << isa.OPCODE.width)) - known:
        with pytest.raises(ValueError, match="unassigned opcode"):
            isa.decode(opcode << isa.OPCODE.lo)


@pytest.mark.parametrize("change, message", [
    ({"opcode": isa.lookup("add").opcode}, "share an opcode"),
    ({"opcode": 1 << isa.OPCODE.width}, "does not fit"),
    ({"fields": (isa.DST, isa.DST)}, "overlaps"),
    ({"reads": ("a", "c")}, "does not have"),
    ({"spaces": (("dst", "v"), ("a", "v"))}, "every operand field"),
])
def test_the_table_refuses_mistakes(monkeypatch, change, message):
    changed = [replace(i, **change) if i.mnemonic == "mul" else i for i in isa.INSTRUCTIONS]
    monkeypatch.setattr(isa, "INSTRUCTIONS", tuple(changed))
    monkeypatch.setattr(isa, "_BY_OPCODE", {i.opcode: i for i in changed})
    with pytest.raises(ValueError, match=message):
        isa._check_table()
