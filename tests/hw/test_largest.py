# amaranth: UnusedElaboratable=no
"""Every block's bench runs at the largest sizes that a board has, or the size changes nothing.

A block of 8 positions that is only tried with 4 may drop half of what it is told. So the benches
are asked what hardware they build, without running it: each block must be built, alone or inside of
another one, with the largest of each parameter below that any preset has; or be the same hardware
with a smaller one.
"""

import contextlib
from dataclasses import replace
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Fragment
from amaranth.lib import wiring
import pytest

from tern_fpga.assembler.contract.config import PRESETS, Config
from tern_fpga.hw.core import Core
from tests import verilog
from tests.campaigns.programs import machines
from tests.compiled import CONFIGS
from tests.firmware import board


# Of the parameters of a machine, those that blocks count in masks, arrays and loops. Others are
# widths of addresses; of those a bench may have smaller ones, for speed.
SIZES = ("positions", "vector_lanes")
RUNNERS = {"run_bench", "run_on_board"}
LARGEST = {name: max(getattr(config, name) for config in PRESETS.values()) for name in SIZES}


@contextlib.contextmanager
def noted():
    """(class, args, kwargs) of every block that is made meanwhile."""
    found, new = [], Elaboratable.__new__

    def note(cls, *args, **kwargs):
        found.append((cls, args, kwargs))
        return new(cls, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Elaboratable, "__new__", staticmethod(note))
        yield found


class Benches:
    """Tests of one simulator and their parameters, as pytest collects them."""
    def __init__(self):
        self.found = []
        files = [str(path) for path in sorted(Path(__file__).parent.glob("test_*.py"))
                 if any(f"{run}(" in path.read_text(encoding="utf-8") for run in RUNNERS)]
        assert pytest.main(["--collect-only", "-p", "no:cacheprovider", "-p", "no:terminal",
                            "-W", "ignore", *files], plugins=[self]) == pytest.ExitCode.OK

    def pytest_collection_finish(self, session):
        for item in session.items:
            given = dict(item.callspec.params) if hasattr(item, "callspec") else {}
            if given.get("simulator") == "verilator" and vars(item.module).keys() & RUNNERS:
                self.found.append((item.function, given))

    def hardware(self):
        """What they would build: called up to there, nothing is built nor run."""
        tops = []

        def convert(component, **options):
            tops.append(component)
            return "module dut();\nendmodule\n"

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verilog.verilog, "convert", convert)
            for module in (verilog, board):
                patch.setattr(module, "run_verilog", lambda *args, **options: None)
            for function, given in self.found:
                function(**given)
        return tops


def elaborate_largest(tops):
    """Of each bench the largest, so that blocks in blocks are noted too."""
    largest = {}
    for top in tops:
        for name in SIZES:
            size, key = getattr(getattr(top, "config", None), name, 0), (type(top), name)
            if key not in largest or size > largest[key][0]:
                largest[key] = size, top
    for top in {id(top): top for _, top in largest.values()}.values():
        Fragment.get(top, None)


def configs(args, kwargs):
    return [each for each in (*args, *kwargs.values()) if isinstance(each, Config)]


def hardware(cls, args, kwargs, **sizes):
    """RTLIL of a block on a board's machine, some sizes of which are changed."""
    def change(value):
        return replace(PRESETS["ulx3s-85f"], **sizes) if isinstance(value, Config) else value

    block = cls(*map(change, args), **{name: change(each) for name, each in kwargs.items()})
    return rtlil.convert(block, name="block", emit_src=False)


@pytest.fixture(scope="module")
def made():
    """{class: [(args, kwargs), ...]} of the blocks of benches that a machine's config changes."""
    benches, blocks = Benches(), {}
    with noted() as found:
        elaborate_largest(benches.hardware())
    for cls, args, kwargs in found:
        if cls.__module__.startswith("tern_fpga.hw.") and configs(args, kwargs):
            blocks.setdefault(cls, []).append((args, kwargs))
    return blocks


def test_blocks_are_built_at_the_largest_sizes(made):
    missing = []
    for cls, given in made.items():
        for name, most in LARGEST.items():
            if max(getattr(config, name) for each in given for config in configs(*each)) >= most:
                continue
            if hardware(cls, *given[0]) != hardware(cls, *given[0], **{name: most // 2}):
                missing.append(f"{cls.__module__}.{cls.__name__}: {name} {most}")
    assert not missing


def test_every_block_of_a_core_is_in_a_bench(made):
    """The core itself is in lockstep with the golden machine (tests/compiled.py: CONFIGS)."""
    with noted() as found:
        Fragment.get(Core(config=PRESETS["sim-tiny"]), None)
    parts = {cls for cls, args, kwargs in found
             if issubclass(cls, wiring.Component) and configs(args, kwargs)}
    assert parts - made.keys() == {Core} and len(parts) > 20
    for name, most in LARGEST.items():
        assert max(getattr(config, name) for config in CONFIGS.values()) >= most
        assert max(getattr(machines.CONFIGS[each], name) for each in machines.SHIPPED) >= most
