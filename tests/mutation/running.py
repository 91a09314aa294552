"""Run tests of ``make test`` on mutated hardware, in this process.

    with mutated(mutants, selected) as present:     hardware made here has all mutants, all off
        Session(node, selected, [0, 3]).run()       a test with none of them, and with the third

Nothing of this is reached but from here: without this patch, hardware has no mutants.
"""

import contextlib
from dataclasses import asdict
import json
from pathlib import Path
import tempfile

from _pytest.runner import runtestprotocol
from amaranth.back import verilog
import pytest

from sim import hardware
from tests.mutation import mutants as faulty, rtlil


__all__ = ["mutated", "Session"]


@contextlib.contextmanager
def mutated(mutants, selected):
    """Hardware that is converted to Verilog has ``mutants``; the file ``selected`` names the one
    that is on. Yields the set of those that were in any hardware so far."""
    present, known, converted = set(), {}, {}
    convert, yosys, made = verilog.convert, verilog._convert_rtlil_text, hardware.verilog

    def with_places(*args, **options):
        return convert(*args, **{**options, "emit_src": True})

    def with_mutants(text, **options):
        if text not in known:
            new, here = faulty.instrument(text, mutants)
            out = yosys(rtlil.without_places(new), **options)
            known[text] = out + (faulty.switch_verilog(selected) if here else ""), here
        out, here = known[text]
        present.update(here)
        return out

    def in_this_process(config, command="verilog", *options):
        from hw.__main__ import COMMANDS, main
        assert command in COMMANDS
        key = config.digest, command, options
        if key not in converted:
            with tempfile.TemporaryDirectory() as folder:
                file, out = Path(folder) / "config.json", Path(folder) / "hw.v"
                file.write_text(json.dumps(asdict(config)))
                status = main([command, "--config", str(file), "-o", str(out),
                               *map(str, options)])
                assert not status
                converted[key] = out.read_text()
        return converted[key]

    verilog.convert, verilog._convert_rtlil_text = with_places, with_mutants
    hardware.verilog = in_this_process
    try:
        yield present
    finally:
        verilog.convert, verilog._convert_rtlil_text = convert, yosys
        hardware.verilog = made


class Session:
    """Runs the tests of ``node`` once for each number of ``numbers``, up to the first failure.

    ``report(number, failed)``: what is called after each; ``failed`` names the test, or is None.
    """
    def __init__(self, node, selected, numbers, report):
        self.node     = node
        self.selected = selected
        self.numbers  = numbers
        self.report   = report

    def run(self):
        """Whether there were tests."""
        status = pytest.main(["-p", "no:cacheprovider",
                              "-p", "no:terminal", self.node], plugins=[self])
        return status == pytest.ExitCode.OK

    def pytest_runtestloop(self, session):
        if session.testsfailed or not session.items:
            return None
        for number in self.numbers:
            self.selected.write_text(f"{number}\n")
            failed = None
            for item in session.items:
                item._initrequest()
                reports = runtestprotocol(item, log=False, nextitem=item.parent)
                bad = [each for each in reports if each.failed]
                if bad:
                    failed = item.nodeid, str(bad[0].longrepr)
                    break
            self.report(number, failed)
        session.testscollected = len(session.items)
        return True
