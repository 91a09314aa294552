"""Run the tests on the mutants, one test after another, and keep what came of it."""

from dataclasses import asdict
import functools
import json
import os
import selectors
import signal
import subprocess
import sys
import time

from tern_fpga.assembler.files import disk
from tern_fpga.sim.rtl import verilate
from tests.campaigns.mutation.known import EQUIVALENT
from tests.campaigns.mutation.rtlil import ROOT
from tests.quick import imports


__all__ = ["Campaign"]


HOUR = 3600                     # without a word from a worker: it is stuck


def _digest(paths):
    return verilate.digest(*(part for path in sorted(paths)
                             for part in (str(path.relative_to(ROOT)), path.read_bytes())))


@functools.cache
def _sources():
    """Hash of what every test's result depends on."""
    paths = [path for package in ("assembler", "hw", "sim", "firmware")
             for path in (ROOT / package).rglob("*")
             if path.suffix in (".py", ".v", ".cpp", ".tasm")]
    paths += [ROOT / "tests" / "campaigns" / "mutation" / f"{name}.py"
              for name in ("rtlil", "faults", "mutants", "running")]
    return _digest(paths)


def _imported(path, found):
    """Add the file ``path`` and all of ``tests`` that it imports to ``found``."""
    if path.exists() and path not in found:
        found.add(path)
        for file in imports(path.relative_to(ROOT)):
            if file.startswith("tests/"):
                _imported(ROOT / file, found)
    return found


class Campaign:
    """Results of tests on ``mutants``: ``results[node][name]`` is None where the test passes, else
    what failed. They are kept in ``folder``, so that a campaign that was cut off goes on.

    ``say``: takes lines about progress.
    """
    def __init__(self, mutants, folder, say=lambda line: None):
        self.mutants = mutants
        self.folder  = folder
        self.say     = say
        self.results = {}
        self.seconds = {}           # of the processor, by node
        self.broken  = []           # nodes that fail without a mutant
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def caught(self):
        """``{mutant: (node, what failed)}``"""
        found = {}
        for node, results in self.results.items():
            for mutant in self.mutants:
                if results.get(mutant.name) and mutant not in found:
                    found[mutant] = node, results[mutant.name]
        return found

    def tried(self, mutant):
        """Tests that ``mutant`` was in and that passed."""
        return [node for node, results in self.results.items()
                if mutant.name in results and results[mutant.name] is None]

    def _path(self, node):
        file  = node.partition("::")[0]
        parts = set()
        for name in (file, file.replace("test_", "cocotb_", 1)):
            _imported(ROOT / "tests" / name, parts)
        digest = verilate.digest(_sources(), _digest(parts), node)
        return self.folder / f"{digest}.json"

    def run(self, nodes):
        """Try the tests ``nodes``; of one with several parameters, later ones are for mutants that
        the first met."""
        met = {}
        for node in nodes:
            function = node.partition("[")[0]
            path = self._path(node)
            kept = {"seconds": 0, "results": {}, "absent": []}
            if path.exists():
                kept = json.loads(path.read_text(encoding="utf-8"))
            results = self.results[node] = kept["results"]
            caught  = self.caught
            wanted  = [number for number, mutant in enumerate(self.mutants, 1)
                       if mutant not in caught and mutant.name not in results
                       and mutant.key not in EQUIVALENT
                       and mutant.name not in kept["absent"]
                       and (function not in met or mutant.name in met[function])]
            met.setdefault(function, set())
            while wanted:
                start   = os.times()
                present = self._work(node, wanted, results,
                                     lambda: disk.write_text(path, json.dumps(kept)))
                spent   = os.times()
                if present is None:
                    self.broken.append(node)
                    self.say(f"{node} fails without a mutant")
                    break
                kept["absent"]  += [self.mutants[n - 1].name for n in wanted if n not in present]
                kept["seconds"] += (spent.children_user + spent.children_system
                                    - start.children_user - start.children_system)
                disk.write_text(path, json.dumps(kept))
                wanted = [n for n in present if self.mutants[n - 1].name not in results]
            met[function] |= set(results)
            self.seconds[node] = kept["seconds"]
            self.say(f"{node}: {len(self.caught) - len(caught)} caught, "
                     f"{sum(each is None for each in results.values())} passed; "
                     f"{len(self.caught)} of {len(self.mutants)} so far; "
                     f"{self.seconds[node]:.0f} s")

    def _work(self, node, wanted, results, save):
        """Run a worker on mutants, up to one that ends it; returns which of them the test meets, or
        None if it fails without any."""
        (self.folder / "mutants.json").write_text(json.dumps([asdict(m) for m in self.mutants]),
                                                  encoding="utf-8")
        (self.folder / "wanted.json").write_text(json.dumps(wanted), encoding="utf-8")
        with open(self.folder / "log", "w", encoding="utf-8") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.campaigns.mutation.worker", str(self.folder),
                 f"tests/{node}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True)
        lines = _Lines(worker.stdout)
        running, present = None, None
        while (line := lines.next(HOUR)) is not None:
            what, *rest = json.loads(line)
            if what == "start":
                (running,) = rest
            elif what == "present":
                (present,) = rest
            else:
                number, failed = rest
                if number == 0 and failed:
                    lines.late = True
                    break
                if number:
                    results[self.mutants[number - 1].name] = failed and failed[0]
                    save()
                running = None
        if lines.late:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        lines.close()
        if present is not None and running is not None:
            late = lines.late or worker.returncode == -signal.SIGPROF
            results[self.mutants[running - 1].name] = \
                "does not end" if late else "ends the simulator"
            save()
        return present


class _Lines:
    """Lines of a pipe. ``late`` is set when none came in time; then, and at the end, there is
    None."""
    def __init__(self, pipe):
        self.late  = False
        self._pipe = pipe
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)

    def next(self, seconds):
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if not self._selector.select(max(end - time.monotonic(), 0)):
                self.late = True
                return None
            if not (more := os.read(self._pipe.fileno(), 1 << 16)):
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def close(self):
        self._selector.close()
        self._pipe.close()
