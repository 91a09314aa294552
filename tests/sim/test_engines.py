"""The machine that a command says it runs is the one that it runs, and no other.

Each machine is made to compute wrong, one at a time. What a command says must change if, and only
if, the machine is one that it claims: of all commands of ``python -m sim``, and for those with
``--engine`` of each engine.
"""

import argparse
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.models.floats import FloatModel
from tern_fpga.sim import engines
from tern_fpga.sim.cli import COMMANDS, main
from tern_fpga.sim.commands import board, demo, numerics
from tern_fpga.sim.golden.vector import VectorUnit
from tern_fpga.sim.reference import floating
from tern_fpga.sim.rtl import machine as rtl
from tests import random_model
from tests.assembler.test_tokenizer import byte_level
from tests.campaigns.test_random_programs import CONFIGS
from tests.quick import imports
from tests.verilog import ROOT


CONFIG = CONFIGS["narrow"]          # one build for this and for those tests
IDS    = "7,3,250"
TEXT   = "the lion and the fellow said a thing"


# How each machine is made to compute wrong, in a way that no other one sees.

def _wrong_golden(patch):
    """Also of Batch, its machine of several copies; the float machine rounds in its own way."""
    right = VectorUnit.round
    patch.setattr(VectorUnit, "round", lambda self, x: right(self, np.roll(x, 1)))


def _wrong_float(patch):
    right = floating._Exact.round
    patch.setattr(floating._Exact, "round", lambda self, x: right(self, np.roll(x, 1)))


def _wrong_rtl(patch):
    """The memory has other tokens' vectors, and gives its words late: what counts cycles alone
    must change too."""
    right = rtl.RtlMachine.__init__

    def wrong(self, image, **options):
        right(self, image, **{**options, **({} if options.get("memory") else {"gap": 128})})
        table = image.section("embedding")
        start = table.address * image.config.word_bytes
        rows = self.memory[start:start + table.size].reshape(image.model()[0], -1)
        rows[:] = np.roll(rows, len(rows) // 2, 0)
    patch.setattr(rtl.RtlMachine, "__init__", wrong)


def _wrong_reference(patch):
    right = FloatModel.logits
    patch.setattr(FloatModel, "logits", lambda self, ids: -right(self, ids))


MACHINES = {"golden": _wrong_golden, "rtl": _wrong_rtl, "float": _wrong_float,
            "reference": _wrong_reference}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model with a tokenizer, its image, and what commands read; a board's name, for `perf`."""
    folder = tmp_path_factory.mktemp("engines")
    model = random_model.write(folder / "model", hidden=20, inner=33, layers=2, vocab=300,
                               eos_token_id=299)
    byte_level().save(str(model / "tokenizer.json"))
    compile_model(model, CONFIG, "sim-tiny").save(folder / "image")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    np.save(folder / "ids.npy", [[1, 2, 3, 4], [9, 8, 7, 6]])
    return SimpleNamespace(model=str(model), image=str(folder / "image"), folder=folder,
                           text=str(folder / "text.txt"), ids=str(folder / "ids.npy"))


class Case:
    """A command line, the machines that its command claims (with ``--engine``: besides that one),
    and what of its output does not depend on how busy this computer is."""
    def __init__(self, claims, argv, said=lambda out, files: out):
        self.claims, self.argv, self.said = set(claims), argv, said


def _numbers(out, files):
    """JSON without what the simulation took."""
    found = json.loads(out)
    for each in found if isinstance(found, list) else [found]:
        del each["simulated"]
    return found


def _story(out, files):
    return [line for line in out.splitlines() if line.startswith(IDS)]


CASES = {
    "generate":   Case([], lambda f: ["generate", f.image, "--ids", IDS, "--tokens", "6"]),
    "logits":     Case([], lambda f: ["logits", f.image, "--ids", f.ids, "-o",
                                      str(f.folder / "logits.npy")],
                       lambda out, f: (f.folder / "logits.npy").read_bytes()),
    "perplexity": Case([], lambda f: ["perplexity", f.image, "--text", f.text, "--limit", "6",
                                      "--context", "2"]),
    "perplexity --compare": Case(["reference"], lambda f: [
        "perplexity", f.image, "--text", f.text, "--limit", "6", "--compare", f.model]),
    "generate --temperature": Case([], lambda f: [
        "generate", f.image, "--ids", IDS, "--tokens", "6", "--temperature", "0.02"]),
    "numerics":   Case(["golden", "reference"], lambda f: [
        "numerics", f.model, "--text", f.text, "--limit", "6", "--target", "sim-tiny"]),
    "lockstep":   Case(["golden", "rtl"], lambda f: ["lockstep", f.image, "--ids", "5",
                                                     "--tokens", "1"]),
    "perf":       Case(["rtl"], lambda f: ["perf", f.image, "--tokens", "1", "--json"], _numbers),
    "positions":  Case(["rtl"], lambda f: ["positions", f.image, "--tokens", "1", "--json"],
                       _numbers),
    "demo":       Case(["golden", "rtl"], lambda f: [
        "demo", "--model", f.model, "--ids", IDS, "--tokens", "2",
        "--temperature", "0"], _story),
}

# Commands that no case can be made of here, and why that is well.
OTHERS = {
    "roofline": "draws what `perf` measured",
    "netlist":  "builds a netlist for minutes; tests/sim/test_netlist.py",
    "sdram":    "runs a bench of the SDRAM controller alone, with no machine; test_sdram.py",
    "board":    "is a process of its own: test_the_simulated_board_has_no_other_machine",
}


def options(command):
    """Options of a command, as it adds them itself."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"tern_fpga.sim.commands.{command}").add_arguments(parser)
    return {option: action for action in parser._actions for option in action.option_strings}


def with_engine():
    return [name for name in COMMANDS if "--engine" in options(name)]


def lines():
    """(id, case, engine or None) of all that is tried."""
    for name, case in CASES.items():
        if name.split()[0] in with_engine():
            for engine in (None, *engines.ENGINES):
                yield f"{name}, {engine or 'default'} engine", case, engine
        else:
            yield name, case, None


LINES = list(lines())


def test_every_command_has_a_case():
    """A new one must say here which machines it runs; one with --engine is tried with each."""
    assert {name.split()[0] for name in CASES} | set(OTHERS) == set(COMMANDS)
    assert not set(with_engine()) & set(OTHERS) and len(with_engine()) >= 3
    for name in with_engine():
        assert tuple(options(name)["--engine"].choices) == engines.ENGINES
    assert set(engines.ENGINES) <= set(MACHINES)


@pytest.mark.parametrize("case, engine", [line[1:] for line in LINES],
                         ids=[line[0] for line in LINES])
def test_a_command_runs_the_machines_that_it_claims(files, tmp_path, monkeypatch, capsys, case,
                                                    engine):
    monkeypatch.setattr(numerics, "FORMATS", ((12, 6),))
    monkeypatch.setattr(demo, "verilate", SimpleNamespace(cache=lambda: tmp_path))
    argv = case.argv(files) + (["--engine", engine] if engine else [])
    default = ["golden"] if argv[0] in with_engine() and not engine else []

    def said():
        status = report(main, argv)
        out, err = capsys.readouterr()
        assert status in (0, 1), err
        return status, case.said(out, files)

    right = said()
    assert right[0] == 0 and right[1]
    changed = set()
    for name, damage in MACHINES.items():
        with monkeypatch.context() as patch:
            damage(patch)
            now = said()
            if now != right:
                changed.add(name)
    assert changed == case.claims | set(filter(None, [engine, *default]))
    assert said() == right


def test_cycles_are_the_cores(files, capsys):
    """Only the RTL has a clock, and says so; it is that of a machine that is run by hand."""
    for engine in engines.ENGINES:
        assert report(main, ["generate", files.image, "--ids", IDS, "--tokens", "3", "--engine",
                             engine]) == 0
        assert ("cycles a sampled token" in capsys.readouterr().err) == (engine == "rtl")
    image = engines.load(files.image, "rtl").image
    found = [token.cycles for token in engines.start(image, "rtl").generate([[7, 3, 250]], 3)]
    machine = rtl.RtlMachine(image)
    machine.send(engines.host.conversation(image.config, [7, 3, 250], 3))
    for n, cycles in enumerate(found, 1):
        machine.run(tokens=n)
        assert cycles > 1000 and 0 <= cycles - machine.total_cycles < 100 * n   # for the checksums


def test_the_simulated_board_has_no_other_machine():
    """`python -m sim board`, and so `--port sim`, reaches no golden machine."""
    reached = [Path(board.__file__).resolve().relative_to(ROOT).as_posix()]
    for file in reached:                # grows
        reached += imports(file) - set(reached)
    assert "sim/rtl/verilate.py" in reached
    assert not any(file.startswith(("sim/golden", "sim/rtl/machine", "sim/reference"))
                   for file in reached), reached
