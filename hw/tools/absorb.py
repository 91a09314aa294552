"""Moves registers behind block RAMs and multipliers into them, after synthesis.

A block RAM of the ECP5 has an output register: with it, data are valid 1 ns after the clock
edge instead of 6 ns. A multiplier has one too: with it, factors may arrive up to 6 ns after the
edge and the product is valid at once; without it, the product takes 4 ns and then a wire to a
register. Yosys 0.70 uses neither. The hardware of this project has a register directly behind
every block RAM and most multipliers. This step makes those the block's own, in the netlist that
Yosys writes as JSON and nextpnr reads. The function of the netlist stays the same. See
``docs/decisions/absorbed-registers.md``.
"""

from collections import Counter
import json


__all__ = ["absorb_registers"]


_READ    = tuple(f"DO{port}{bit}" for port in "AB" for bit in range(18))
_PRODUCT = tuple(f"P{bit}" for bit in range(36))
_CONSTANTS = ("0", "1", "x", "z")


def _register(cell, clock):
    """Whether the cell is a register that loads in every cycle of ``clock`` and has no reset."""
    pins = cell["connections"]
    return (cell["type"] == "TRELLIS_FF" and pins["CLK"] == clock
            and cell["parameters"].get("CLKMUX", "CLK") == "CLK"
            and cell["parameters"].get("CEMUX", "CE").strip() == "1"
            and cell["parameters"].get("REGSET") == "RESET"
            and pins.get("LSR", ["0"]) == ["0"] and "M" not in pins)


def absorb_registers(path):
    """Rewrite the netlist at ``path``; returns the number of registers moved into other cells.

    A block takes its registers if each output drives a register and no other cell. A block RAM
    takes them only if it reads in every cycle and does not write through that port: with a read
    enable, that enable would have to hold the register too.
    """
    netlist = json.loads(path.read_text(encoding="utf-8"))
    moved = 0
    for module in netlist["modules"].values():
        cells = module["cells"]
        uses, sinks = Counter(), {}
        for name, cell in cells.items():
            for pin, bits in cell["connections"].items():
                if cell["port_directions"][pin] == "input":
                    uses.update(bits)
                    if pin == "DI":
                        sinks[bits[0]] = name
        for port in module["ports"].values():
            uses.update(port["bits"])
        for block in [cell for cell in cells.values() if cell["type"] in _BLOCKS]:
            outputs, can, take = _BLOCKS[block["type"]]
            pins = block["connections"]
            used = {pin: pins[pin][0] for pin in outputs if pins.get(pin) and uses[pins[pin][0]]}
            # An output that another cell uses too must stay as it is.
            if not (used and all(uses[bit] == 1 and bit in sinks and bit not in _CONSTANTS
                                 for bit in used.values())):
                continue
            clock = cells[sinks[min(used.values())]]["connections"]["CLK"]
            if not (can(block, used, clock)
                    and all(_register(cells[sinks[bit]], clock) for bit in used.values())):
                continue
            for pin, bit in used.items():
                pins[pin] = cells.pop(sinks[bit])["connections"]["Q"]
            take(block, clock)
            moved += len(used)
    path.write_text(json.dumps(netlist), encoding="utf-8")
    return moved


def _ram_can(ram, reads, clock):
    pins, parameters = ram["connections"], ram["parameters"]
    for port, other in ("BA", "AB"):
        # With 36 bits, port B reads through the pins of port A too.
        whole = port == "B" and int(parameters["DATA_WIDTH_B"], 2) == 36
        if ((whole or all(pin.startswith(f"DO{port}") for pin in reads))
                and pins[f"CE{port}"] == ["1"] and pins[f"WE{port}"] == pins[f"RST{port}"] == ["0"]
                and pins[f"CLK{port}"] == clock and pins[f"CLK{other}"] in (clock, ["0"], ["x"])
                and parameters[f"REGMODE_{port}"] == "NOREG"):
            return True
    return False


def _ram_takes(ram, clock):
    for port in "AB":
        ram["connections"][f"OCE{port}"] = ["1"]
        ram["parameters"][f"REGMODE_{port}"] = "OUTREG"


def _multiplier_can(multiplier, products, clock):
    # As Yosys instantiates them: no registers, no shift chains between multipliers.
    return not any(pin.startswith(("CLK", "CE", "RST", "SR", "RO"))
                   for pin in multiplier["connections"])


def _multiplier_takes(multiplier, clock):
    for pin, value in {"CLK0": clock, "CE0": ["1"], "RST0": ["0"]}.items():
        multiplier["connections"][pin] = value
        multiplier["port_directions"][pin] = "input"
    multiplier["parameters"]["REG_OUTPUT_CLK"] = "CLK0"


# For each cell type: its outputs, whether it can take their registers, and how it takes them.
_BLOCKS = {
    "DP16KD":     (_READ, _ram_can, _ram_takes),
    "MULT18X18D": (_PRODUCT, _multiplier_can, _multiplier_takes),
}
