"""Registers that move into block RAMs and multipliers after synthesis."""

import copy
import json

import pytest

from tern_fpga.hw.tools.absorb import absorb_registers


CLOCK, DATA, STORED, OTHER = 2, 10, 11, 12


def netlist():
    """A block RAM that reads in every cycle, and a register behind its only output."""
    def directions(connections, outputs):
        return {pin: "output" if pin in outputs else "input" for pin in connections}

    ram = {"CLKA": [CLOCK], "CLKB": [CLOCK], "CEA": ["1"], "CEB": ["1"], "WEA": ["1"],
           "WEB": ["0"], "RSTB": ["0"], "OCEA": ["0"], "OCEB": ["1"], "DOB0": [DATA]}
    register = {"CLK": [CLOCK], "DI": [DATA], "LSR": ["0"], "Q": [STORED]}
    return {"modules": {"top": {
        "ports": {"clk": {"bits": [CLOCK]}, "o": {"bits": [STORED]}},
        "cells": {
            "ram": {"type": "DP16KD", "connections": ram,
                    "port_directions": directions(ram, {"DOB0"}),
                    "parameters": {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG",
                                   "DATA_WIDTH_B": f"{18:032b}"}},
            "register": {"type": "TRELLIS_FF", "connections": register,
                         "port_directions": directions(register, {"Q"}),
                         "parameters": {"CEMUX": "1 ", "CLKMUX": "CLK", "REGSET": "RESET"}},
        }}}}


def absorbed(tmp_path, given):
    path = tmp_path / "top.json"
    path.write_text(json.dumps(given), encoding="utf-8")
    return absorb_registers(path), json.loads(path.read_text(encoding="utf-8"))


def test_a_register_behind_a_block_ram_becomes_its_own(tmp_path):
    moved, result = absorbed(tmp_path, netlist())
    (ram,) = result["modules"]["top"]["cells"].values()
    assert moved == 1
    assert ram["connections"]["DOB0"] == [STORED]
    assert ram["connections"]["OCEB"] == ["1"]
    assert ram["parameters"]["REGMODE_A"] == ram["parameters"]["REGMODE_B"] == "OUTREG"


@pytest.mark.parametrize("cell, kind, name, value", [
    ("ram",      "connections", "CEB", [OTHER]),        # reads now and then
    ("ram",      "connections", "RSTB", [OTHER]),
    ("ram",      "connections", "WEB", ["1"]),          # writes through the port that reads
    ("ram",      "connections", "CLKA", [OTHER]),
    ("ram",      "connections", "DOA0", [OTHER]),
    ("register", "connections", "CLK", [OTHER]),
    ("register", "connections", "LSR", [OTHER]),
    ("register", "parameters",  "CEMUX", "CE"),
    ("register", "parameters",  "CLKMUX", "INV"),
    ("register", "parameters",  "REGSET", "SET"),
    ("register", "type",        None, "LUT4"),
])
def test_anything_else_is_left_as_it_is(tmp_path, cell, kind, name, value):
    given = netlist()
    changed = given["modules"]["top"]["cells"][cell]
    if name is None:
        changed[kind] = value
    else:
        changed[kind][name] = value
        changed["port_directions"].setdefault(name, "output")
    if name == "DOA0":
        given["modules"]["top"]["ports"]["other"] = {"bits": [OTHER]}
    moved, result = absorbed(tmp_path, copy.deepcopy(given))
    assert moved == 0
    assert result == given


def test_an_output_with_two_users_stays_outside(tmp_path):
    given = netlist()
    given["modules"]["top"]["ports"]["also"] = {"bits": [DATA]}
    moved, result = absorbed(tmp_path, copy.deepcopy(given))
    assert moved == 0
    assert result == given


def test_a_rom_that_reads_through_its_first_port_takes_its_register(tmp_path):
    given = netlist()
    ram = given["modules"]["top"]["cells"]["ram"]
    pins = ram["connections"]
    pins |= {"DOA0": pins.pop("DOB0"), "CLKB": ["0"], "CEB": ["0"], "WEA": ["0"], "RSTA": ["0"]}
    ram["port_directions"] |= {"DOA0": "output", "RSTA": "input"}
    moved, result = absorbed(tmp_path, given)
    assert moved == 1
    assert result["modules"]["top"]["cells"]["ram"]["connections"]["DOA0"] == [STORED]


def multiplier():
    given = netlist()
    cells = given["modules"]["top"]["cells"]
    cells["ram"] = {"type": "MULT18X18D", "connections": {"A0": [OTHER], "P0": [DATA]},
                    "port_directions": {"A0": "input", "P0": "output"}, "parameters": {}}
    return given


def test_a_register_behind_a_multiplier_becomes_its_own(tmp_path):
    moved, result = absorbed(tmp_path, multiplier())
    (cell,) = result["modules"]["top"]["cells"].values()
    assert moved == 1
    assert cell["connections"] == {"A0": [OTHER], "P0": [STORED], "CLK0": [CLOCK], "CE0": ["1"],
                                   "RST0": ["0"]}
    assert cell["parameters"] == {"REG_OUTPUT_CLK": "CLK0"}


def test_a_multiplier_whose_register_has_an_enable_stays_as_it_is(tmp_path):
    given = multiplier()
    given["modules"]["top"]["cells"]["register"]["parameters"]["CEMUX"] = "CE"
    moved, result = absorbed(tmp_path, copy.deepcopy(given))
    assert moved == 0 and result == given
