"""Run tests of ``make test`` on mutated hardware, in this process.

    with Mutated(mutants, selected) as hardware:                all mutants are in it, all off
        Session(node, hardware, [0, 3], report).run()           none is on, then the third

Nothing of this is reached but from here: without this patch, hardware has no mutants.
"""

from dataclasses import asdict
import json
from pathlib import Path
import tempfile

from _pytest.runner import runtestprotocol
from amaranth.back import verilog
import pytest

from tern_fpga.sim.rtl import hardware, machine as rtl, verilate
from tests.campaigns.mutation import mutants as faulty, rtlil


__all__ = ["Mutated", "Session"]


IDLE_CYCLES = 1 << 16           # after which a core hangs: fewer than in RtlMachine, to save time


class Mutated:
    """While this context lasts, hardware that is converted to Verilog has ``mutants``; the file
    ``selected`` has the number of the one that is on.

    ``present``: those that were in any hardware so far. A test that converts again what it
    converted before, in the same order, gets what it got then: ``begin(test)`` tells of each run.
    """
    def __init__(self, mutants, selected):
        self.mutants  = mutants
        self.selected = selected
        self.present  = set()
        self._known   = {}
        self._begun   = ()
        self._count   = 0

    def begin(self, test):
        self._begun, self._count = test, 0

    def __enter__(self):
        self._originals = (verilog.convert, verilog._convert_rtlil_text, hardware.verilog,
                           verilate.compile_model)
        verilog.convert, verilog._convert_rtlil_text = self._convert, self._yosys
        hardware.verilog, verilate.compile_model = self._verilog, self._compile
        self._idle = rtl.RtlMachine.run.__kwdefaults__["idle"]
        rtl.RtlMachine.run.__kwdefaults__["idle"] = IDLE_CYCLES
        return self

    def __exit__(self, *error):
        (verilog.convert, verilog._convert_rtlil_text, hardware.verilog,
         verilate.compile_model) = self._originals
        rtl.RtlMachine.run.__kwdefaults__["idle"] = self._idle

    def _convert(self, *args, **options):
        self._count += 1
        key = self._begun, self._count
        if key not in self._known:
            self._known[key] = self._originals[0](*args, **{**options, "emit_src": True})
        return self._known[key]

    def _yosys(self, text, **options):
        new, here = faulty.instrument(text, self.mutants)
        self.present |= here
        out = self._originals[1](rtlil.without_places(new), **options)
        return out + (faulty.switch_verilog(self.selected) if here else "")

    def _verilog(self, config, command="verilog", *options):
        """As sim.rtl.hardware.verilog, without its cache and its process."""
        from tern_fpga.hw.cli import main
        key = config.digest, command, options
        if key not in self._known:
            with tempfile.TemporaryDirectory() as folder:
                file, out = Path(folder) / "config.json", Path(folder) / "hw.v"
                file.write_text(json.dumps(asdict(config)), encoding="utf-8")
                begun = self._begun, self._count
                self.begin(key)
                status = main([command, "--config", str(file), "-o", str(out),
                               *map(str, options)])
                self._begun, self._count = begun
                assert not status
                self._known[key] = out.read_text(encoding="utf-8")
        return self._known[key]

    def _compile(self, *args, flags=(), **options):
        """Without the optimiser, which takes longer than it saves here."""
        self._originals[3](*args, **options, flags=[
            "-O0" if flag in ("-O1", "-O2") else flag for flag in flags])


class Session:
    """Runs the tests of ``node`` once for each number of ``numbers``, up to the first failure.

    ``report(number, failed)`` is called after each; ``failed`` is the test and what it said, or
    None.
    """
    def __init__(self, node, hardware, numbers, report):
        self.node     = node
        self.hardware = hardware
        self.numbers  = numbers
        self.report   = report

    def run(self):
        """Whether there were tests."""
        # Hardware that was converted before is made and not used.
        status = pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal",
                              "-W", "ignore::amaranth.UnusedElaboratable", self.node],
                             plugins=[self])
        return status == pytest.ExitCode.OK

    def pytest_runtestloop(self, session):
        if session.testsfailed or not session.items:
            return None
        for number in self.numbers:
            self.hardware.selected.write_text(f"{number}\n", encoding="utf-8")
            failed = None
            for item in session.items:
                self.hardware.begin(item.nodeid)
                item._initrequest()
                reports = runtestprotocol(item, log=False, nextitem=item.parent)
                bad = [each for each in reports if not each.passed]     # nor skipped
                if bad:
                    failed = item.nodeid.removeprefix("tests/"), str(bad[0].longrepr)
                    break
            self.report(number, failed)
        session.testscollected = len(session.items)
        return True
