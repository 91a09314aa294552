"""Build a component's Verilog and run a cocotb bench on it."""

import json
import os
from pathlib import Path
import re
import shutil
import sys
import tempfile
from xml.etree import ElementTree

from amaranth.back import verilog
import cocotb_tools.config
from cocotb_tools.runner import get_runner
import pytest

from tern_fpga.sim.rtl import verilate


ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "benches"

# Icarus is not on PyPI. Where it is missing, its benches are skipped (tests/conftest.py says so).
icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason=(
    "needs Icarus Verilog, the second simulator of the benches: install `iverilog`"))

over_simulators = pytest.mark.parametrize("simulator", [
    "verilator", pytest.param("icarus", marks=icarus)])


def simulated(names, cases, *, icarus_too):
    """Cases for Verilator, and those numbered ``icarus_too`` for Icarus, which is slow: what it
    sees otherwise are rules of the language, and these do not depend on sizes."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    return pytest.mark.parametrize(f"{names}, simulator", [
        *((*case, "verilator") for case in cases),
        *(pytest.param(*cases[n], "icarus", marks=icarus) for n in icarus_too)])


def run_bench(component, bench, simulator, **parameters):
    """Convert ``component``, run all tests of the cocotb module ``tests.<bench>`` on it.

    The bench reads ``parameters`` (JSON) with :func:`parameters`. The build folder is keyed by
    the Verilog and the simulator, so that no bench ever runs on another's hardware, and a
    second bench of the same hardware does not build again.
    """
    source = verilog.convert(component, name="dut", emit_src=False)
    run_verilog({"dut.v": source}, "dut", bench, simulator, inputs=_inputs(source, "dut"),
                **parameters)


def _inputs(source, module):
    """Names and widths of the inputs of ``module``, but for clocks and resets."""
    (body,) = re.findall(rf"^module {module}\(.*?^endmodule", source, re.DOTALL | re.MULTILINE)
    return {name: int(high or 0) + 1 for high, name in
            re.findall(r"^  input (?:\[(\d+):0\] )?(\w+);", body, re.MULTILINE)
            if not re.search(r"(^|_)(clk|rst)$", name)}


def run_verilog(sources, top, bench, simulator, *, inputs=None, only=None, **parameters):
    """Run all tests of ``tests.<bench>`` on module ``top`` of ``sources`` (name: text).

    ``inputs``: names and widths of those that get the noise of :func:`sim.rtl.streams.start`.
    ``only``: name of a single test of the bench. A test that skips itself is a failure: nothing
    would say that it was not run.
    """
    build = {"verilator": _verilator, "icarus": _icarus}[simulator]
    key = verilate.key(top, *sources.items())
    folder = verilate.once(BUILD / f"{bench}-{simulator}-{key}",
                           lambda folder: build(folder, sources, top))
    run = verilate.digest(json.dumps([parameters, only], sort_keys=True))[:8]
    log = folder / f"run-{run}.log"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        results = Path(scratch) / "results.xml"
        try:
            get_runner(simulator).test(
                hdl_toplevel=top, hdl_toplevel_lang="verilog", test_module=f"tests.hw.{bench}",
                build_dir=folder, test_dir=ROOT, results_xml=str(results), log_file=log,
                test_filter=only and rf"\.{only}\b",
                extra_env={"BENCH_PARAMETERS": json.dumps(parameters),
                           "BENCH_INPUTS": json.dumps(inputs or {}),
                           "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])})
        except (SystemExit, RuntimeError):
            pass    # the log says why; RuntimeError: a $fatal in the Verilog
        total, failed = _results(results) if results.exists() else (0, 1)
    if failed or not total:
        pytest.fail(f"{bench} on {simulator} with {parameters}: {failed} of {total} failed\n"
                    + "\n".join(log.read_text(encoding="utf-8").splitlines()[-60:]), pytrace=False)


def _results(path):
    """Numbers of tests, and of those that did not run to a good end, in a file of cocotb's."""
    cases = ElementTree.parse(path).getroot().findall(".//testcase")
    return len(cases), sum(case.find(bad) is not None for case in cases
                           for bad in ("failure", "error", "skipped"))


def _write(folder, sources):
    paths = [folder / name for name in sources]
    for path, text in zip(paths, sources.values()):
        path.write_text(text, encoding="utf-8")
    return paths


def _verilator(folder, sources, top):
    """What cocotb's runner would build, in a tenth of the time.

    Benches run for seconds, and spend them in Python: optimising would take longer.
    """
    libraries = cocotb_tools.config.libs_dir
    verilate.translate(folder, _write(folder, sources), top, "--exe", "--vpi",
                       "--public-flat-rw", "--timescale", "1ns/1ps")
    verilate.compile_model(
        folder, top, flags=["-O0"],
        sources=[cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"],
        libraries=[f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"])


def _icarus(folder, sources, top):
    # Yosys sets a register in its declaration to start each `always @*`, but SystemVerilog does
    # that before anything waits, and logic of constants or initial states would stay X.
    sources = {name: re.sub(r"reg (\\\$auto\$verilog_backend\S+)\s*= 0;",
                            r"reg \1 ; initial \1 <= 0;", text)
               for name, text in sources.items()}
    get_runner("icarus").build(sources=_write(folder, sources), hdl_toplevel=top,
                               build_dir=folder, timescale=("1ns", "1ps"),
                               log_file=folder / "build.log")


def parameters():
    """The parameters of the bench, inside the simulator."""
    return json.loads(os.environ["BENCH_PARAMETERS"])
