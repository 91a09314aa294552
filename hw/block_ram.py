"""The registers behind block RAMs, moved into them after synthesis.

A block RAM of the ECP5 has a register for its outputs: data are there 1 ns after the clock edge,
not 6, and no register has to lie beside it. Yosys 0.70 does not use it. The hardware of this
project has a register right behind every block RAM; here those become the block RAM's own, in the
netlist that Yosys writes as JSON and nextpnr reads. What the netlist does stays the same.
"""

from collections import Counter
import json


__all__ = ["absorb_registers"]


_OUTPUTS = tuple(f"DO{port}{bit}" for port in "AB" for bit in range(18))
_CONSTANTS = ("0", "1", "x", "z")


def _register(cell, clock):
    """Whether the cell is a register that loads in every cycle of ``clock`` and is never reset."""
    pins = cell["connections"]
    return (cell["type"] == "TRELLIS_FF" and pins["CLK"] == clock
            and cell["parameters"].get("CLKMUX", "CLK") == "CLK"
            and cell["parameters"].get("CEMUX", "CE").strip() == "1"
            and cell["parameters"].get("REGSET") == "RESET"
            and pins.get("LSR", ["0"]) == ["0"] and "M" not in pins)


def absorb_registers(path):
    """Rewrite the netlist at ``path``; returns how many registers went into block RAMs.

    A block RAM takes them if it reads in every cycle, writes through the other port, and each
    output goes to a register and nowhere else. A RAM that is enabled now and then is left alone:
    its enable would have to hold the register too.
    """
    netlist = json.loads(path.read_text())
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
        for ram in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
            pins  = ram["connections"]
            reads = {pin: pins[pin][0] for pin in _OUTPUTS if pins.get(pin) and uses[pins[pin][0]]}
            whole = int(ram["parameters"]["DATA_WIDTH_B"], 2) == 36     # port B reads with A's too
            if not (reads and (whole or not any(pin.startswith("DOA") for pin in reads))
                    and pins["CEB"] == ["1"] and pins["WEB"] == pins["RSTB"] == ["0"]
                    and pins["CLKA"] in (pins["CLKB"], ["0"], ["x"])
                    and ram["parameters"]["REGMODE_B"] == "NOREG"):
                continue
            if not all(uses[bit] == 1 and bit in sinks and bit not in _CONSTANTS
                       and _register(cells[sinks[bit]], pins["CLKB"]) for bit in reads.values()):
                continue
            for pin, bit in reads.items():
                pins[pin] = cells.pop(sinks[bit])["connections"]["Q"]
            for pin in ("OCEA", "OCEB"):
                pins[pin] = ["1"]
            for mode in ("REGMODE_A", "REGMODE_B"):
                ram["parameters"][mode] = "OUTREG"
            moved += len(reads)
    path.write_text(json.dumps(netlist))
    return moved
