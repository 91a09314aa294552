"""Proves what this folder claims about the hardware, and that each claim could fail."""

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
import os
from pathlib import Path
import re
import signal
import sys
import threading
import time

from tern_fpga.assembler.console.commit import commit, made_by, write_report
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk
from tests.campaigns.formal import floats, link, queues, scoreboard, sdram, streams, unpacker
from tests.campaigns.formal.bench import netlist
from tests.campaigns.formal.solve import SolverError, solve, stop, versions


ROOT  = Path(__file__).parents[3]
BUILD = ROOT / "build" / "formal"

PROOFS = {proof.name: proof for module in (unpacker, queues, streams, scoreboard, sdram, link,
                                                 floats) for proof in module.PROOFS}

SECONDS = 1200          # of the processor, for one tool's run
_converting = threading.Lock()      # a fault is put into the classes themselves


@dataclass
class Result:
    """What came of a proof and of its controls, one line each."""
    proof: object
    verdict: str = ""
    seconds: float = 0      # of the processor
    good: bool = True
    controls: list = field(default_factory=list)


def _converted(proof, fault=None):
    with _converting:
        return netlist(proof, fault)


def prove(proof):
    """Run a proof and its controls."""
    result = Result(proof)
    folder = BUILD / re.sub(r"\W+", "-", proof.name)

    def verdict_of(text, method, name="proof"):
        verdict = solve(text, method, folder=folder / name, seconds=SECONDS)
        result.seconds += verdict.seconds
        return verdict

    try:
        text    = _converted(proof)
        verdict = verdict_of(text, proof.method)
        result.good = verdict.holds is True
        if verdict.holds:
            result.verdict = (f"{verdict.cycles} cycles" if proof.method.startswith("bounded")
                              else "always")
        elif verdict.holds is None:
            result.verdict = f"NO ANSWER {verdict.what}"
        else:
            if not verdict.what:    # ABC does not say which; Yices does, and writes a trace
                verdict = verdict_of(text, f"bounded {verdict.cycles + 1}")
            result.verdict = (f"FAILS in cycle {verdict.cycles}: {verdict.what} "
                              f"({folder}/proof/trace.vcd)")
        if proof.reach:
            reached = verdict_of(text, f"reach {proof.reach}", "reach")
            result.good &= reached.holds is True
            result.controls.append(f"covers reached in {reached.cycles} cycles" if reached.holds
                                   else f"NOT REACHED: {reached.what or 'no answer'}")
        for n, fault in enumerate(proof.faults):
            method = proof.method.replace("induction", "bounded")
            found  = verdict_of(_converted(proof, fault), method, f"fault{n}")
            result.good &= found.holds is False
            result.controls.append(f"{fault.what}: found in cycle {found.cycles}"
                                   if found.holds is False else f"{fault.what}: NOT FOUND")
        result.good &= bool(result.controls)
    except (SolverError, LookupError) as error:
        result.good, result.verdict = False, str(error)
    return result


def page(results):
    """Text of docs/reports/formal.md."""
    processor = sum(result.seconds for result in results) / 60
    names   = [result.proof.name for result in results]
    command = ("make formal" if names == list(PROOFS) else
               "python -m tests.campaigns.formal " + " ".join(f'"{name}"' for name in names))
    lines = ["# Formal proofs", "", made_by(command), "",
             f"{len(results)} proofs, {processor:.0f} minutes of the processor; "
             f"{', '.join(versions())}. Verdicts are kept, and decided again when something "
             "changed that they depend on.", "",
             "*always*: for any number of cycles (property directed reachability, by ABC in Yosys, "
             "or induction, by Yices); *N cycles*: from power-up on (Yices). A control is a cover "
             "that must be reached, or a fault, put into the block, that must be found.", "",
             "| proof | shows | result | controls | processor (s) | does not show |",
             "| --- | --- | --- | --- | ---: | --- |"]
    lines += [f"| {r.proof.name} | {r.proof.shows} | {r.verdict} | {'; '.join(r.controls)} | "
              f"{r.seconds:.0f} | {r.proof.limits} |" for r in results]
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.formal", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="proofs, default all: "
                        + ", ".join(PROOFS))
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a page about them")
    parser.add_argument("--jobs", type=int, default=2, metavar="N",
                        help="proofs at a time, default 2")
    arguments = parser.parse_args(argv)
    if arguments.report:
        disk.has_folder(arguments.report)
    commit()                        # the one that begins
    if unknown := [name for name in arguments.names if name not in PROOFS]:
        parser.error(f"no proof {unknown[0]!r}; known are {', '.join(PROOFS)}")
    try:
        versions()
    except metadata.PackageNotFoundError as error:
        parser.error(f"{error.name} is missing: pip install -e '.[formal]'")
    signal.signal(signal.SIGTERM, lambda *_: (stop(), os._exit(1)))
    started, results = time.monotonic(), []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(prove, [PROOFS[name] for name in arguments.names or PROOFS]):
            results.append(result)
            print(f"{'ok  ' if result.good else 'FAIL'} {result.proof.name}: {result.verdict} "
                  f"({'; '.join(result.controls)}), {result.seconds:.0f} s", flush=True)
    bad = sum(not result.good for result in results)
    print(f"{len(results)} proofs, {bad} failed, {time.monotonic() - started:.0f} s")
    if arguments.report:
        write_report(arguments.report, page(results), proofs=len(results), hold=len(results) - bad,
                     processor_minutes=sum(result.seconds for result in results) / 60)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(report(main))
