"""Runs a command line on hostile files, and says whether it behaved.

Each input gets a child of this process that calls the real entry point with limits set, in a
folder made for it. Its exit status, output, time, memory, and every path that it opened are
looked at afterwards.
"""

from dataclasses import dataclass, field
import faulthandler
import gc
import importlib
import os
from pathlib import Path
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib

from tern_fpga.assembler.errors import report


__all__ = ["Case", "Fifo", "Link", "Outcome", "Sandbox", "MEMORY", "SECONDS"]


SECONDS = 5                # of the processor; an input may not take more
MEMORY  = 1 << 30          # bytes that may be resident
_WAITS  = 20               # seconds without any use of the processor: who waits so long is killed
_WALL   = 600              # seconds after which a new interpreter is; the machine may be busy
_SPACE  = 3 << 30          # bytes of addresses: libraries map more than they use
_MODULES = ("tern_fpga.assembler.cli", "tern_fpga.sim.cli", "tern_fpga.firmware.cli",
            "tern_fpga.sim.golden.batch",
            "tern_fpga.sim.reference.floating", "tokenizers", "rich.progress")
_ROOT   = Path(__file__).parents[3]
_LINE   = 600              # characters of a message at most

_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
                "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100"}


@dataclass(frozen=True)
class Link:
    """A symbolic link, in place of a file."""
    target: str


class Fifo:
    """A pipe without a writer: who opens it waits forever."""


@dataclass(frozen=True)
class Case:
    """One input.

    Parameters
    ----------
    kind : str
        What is hostile; a row of the report.
    what : str
        In words, for who must look at it.
    command : (package, arguments...)
        As after ``python -m``, run inside the folder.
    files : dict
        Path in the folder -> bytes, Link, Fifo, or None: no such file. They go over the base.
    base : dict
        Path -> bytes: files that are in order.
    named : tuple of str
        A refusal names one of these.
    outputs : tuple of str
        Paths that success may make.
    lines : int
        That a refusal may have: a program's text has one for each mistake.
    refused : bool
        Success would be wrong.
    statuses : tuple of int
        What the command may end with; 1 is what a self-test says of a board that is not in order.
    stdin : bytes
    prepare : function, or None
        Called in the child first.
    """
    kind: str
    what: str
    command: tuple
    files: dict = field(default_factory=dict)
    base: dict = field(default_factory=dict)
    named: tuple = ()
    outputs: tuple = ()
    lines: int = 1
    refused: bool = False
    statuses: tuple = (0, 2)
    stdin: bytes = b""
    prepare: object = None


@dataclass
class Outcome:
    """``faults``: what was wrong, in words; empty if all was well."""
    status: int
    err: str
    seconds: float
    memory: int
    faults: list


def _end_when_waiting():
    """End this process if it waits for something that does not come, as a pipe's writer.

    It is no matter of time alone: on a busy machine, work waits too.
    """
    last = time.process_time()

    def tick(*_):
        nonlocal last
        now = time.process_time()
        if now - last < 0.002:
            os.kill(os.getpid(), signal.SIGKILL)
        last = now

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, _WAITS, _WAITS)


class Sandbox:
    """A folder ``box`` for the inputs, and beside it one that nobody may touch."""
    def __init__(self, beside):
        os.environ.update(_ENVIRONMENT)
        self._folder = tempfile.TemporaryDirectory(prefix="hostile-")
        self.root = Path(self._folder.name).resolve()
        self.box, self._out = self.root / "box", self.root / "run"
        self.box.mkdir()
        self._out.mkdir()
        for name, data in beside.items():
            self._put(self.root / "beside" / name, data)
        for name in _MODULES:       # so that no child has to
            importlib.import_module(name)
        gc.freeze()

    def close(self):
        self._folder.cleanup()

    @staticmethod
    def _put(path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.exists():
            path.unlink()
        if isinstance(data, Link):
            path.symlink_to(data.target)
        elif data is Fifo:
            os.mkfifo(path)
        elif data is not None:
            path.write_bytes(data)

    def _fill(self, case):
        shutil.rmtree(self.box)
        self.box.mkdir()
        for name, data in (case.base | case.files).items():
            self._put(self.box / name, data)

    def _contents(self):
        """Path -> what is there, of everything but what we write ourselves."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            if Path(folder) == self.root:
                folders.remove("run")
            for name in folders + files:
                path = Path(folder) / name
                mode = path.lstat().st_mode
                found[str(path.relative_to(self.root))] = (
                    os.readlink(path) if stat.S_ISLNK(mode) else
                    zlib.crc32(path.read_bytes()) if stat.S_ISREG(mode) else stat.S_IFMT(mode))
        return found

    def run(self, case, process=False):
        """The :class:`Outcome` of a case; ``process``: in a new interpreter, by ``python -m``."""
        self._fill(case)
        before = self._contents()
        start = time.monotonic()
        (self._out / "in").write_bytes(case.stdin)
        (self._out / "opened").write_bytes(b"")
        with open(self._out / "in", "rb") as stdin, open(self._out / "out", "wb") as out, \
                open(self._out / "err", "wb") as err:
            pid = (self._spawn if process else self._fork)(case, (stdin, out, err))
        _, status, usage = os.wait4(pid, 0)
        wall = time.monotonic() - start
        out, err, opened = ((self._out / name).read_bytes().decode(errors="replace")
                            for name in ("out", "err", "opened"))
        outcome = Outcome(os.waitstatus_to_exitcode(status), err,
                          usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10, [])
        outcome.faults = [*self._judge(case, outcome, out, wall), *opened.splitlines(),
                          *self._moved(case, outcome, before, self._contents())]
        return outcome

    # The child

    def _fork(self, case, files):
        with warnings.catch_warnings():     # newer Pythons warn where there are threads
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            return pid
        try:
            code = self._child(case, files)
        except BaseException:       # as the interpreter would
            traceback.print_exc()
            code = 1
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _limits(self):
        resource.setrlimit(resource.RLIMIT_AS, (_SPACE, _SPACE))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 1, SECONDS + 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def _alarm(self):
        self._limits()
        signal.alarm(_WALL)

    def _child(self, case, files):
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        sys.stdin  = open(0, encoding="utf-8", closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        os.chdir(self.box)
        self._limits()
        _end_when_waiting()
        faulthandler.register(signal.SIGXCPU, chain=True)       # where it was
        if case.prepare:
            case.prepare()
        package, *arguments = case.command
        main = sys.modules[f"tern_fpga.{package}.cli"].main
        sys.addaudithook(self._watch())
        try:
            return report(main, arguments)
        except SystemExit as end:
            return end.code or 0

    def _watch(self):
        """Notes files that are opened where nobody may: an audit hook."""
        log = os.open(self._out / "opened", os.O_WRONLY | os.O_APPEND)
        root, box = str(self.root), str(self.box)

        def hook(event, arguments):
            if event != "open" or not isinstance(arguments[0], (str, bytes)):
                return
            path = os.path.realpath(os.fsdecode(arguments[0]))
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            inside = path == box or path.startswith(box + os.sep)
            if not inside and (writes and path != os.devnull or path.startswith(root)):
                os.write(log, f"{'writes' if writes else 'reads'} {path}\n".encode())
        return hook

    def _spawn(self, case, files):
        stdin, out, err = files
        process = subprocess.Popen([sys.executable, "-m", *case.command], cwd=self.box, stdin=stdin,
                                   stdout=out, stderr=err, preexec_fn=self._alarm,
                                   env=os.environ | {"PYTHONPATH": str(_ROOT)})
        process.returncode = 0      # we wait for it, with what it has used
        return process.pid

    # The verdict

    def _judge(self, case, outcome, out, wall):
        status, err = outcome.status, outcome.err
        if status < 0:
            yield f"killed by {signal.Signals(-status).name} after {wall:.1f} s"
        elif status not in case.statuses:
            yield f"status {status}"
        if outcome.seconds > SECONDS:
            yield f"{outcome.seconds:.1f} s of the processor"
        if outcome.memory > MEMORY:
            yield f"{outcome.memory >> 20} MB"
        if "Traceback" in err or "panicked" in err:
            yield "traceback"
        if status == 0 and case.refused:
            yield "was accepted"
        if status == 2:
            # What a command did before it met the mistake is no fault.
            lines = [line for line in err.splitlines() if not line.startswith("image: ")]
            if not 1 <= len(lines) <= case.lines or not err.endswith("\n"):
                yield f"{len(lines)} lines of errors"
            elif not all(line.startswith("error: ") for line in lines):
                yield "no message"
            elif not all(line.isprintable() and len(line) <= _LINE for line in lines):
                yield "message of odd characters, or too long"
            elif case.named and not all(any(name in line for name in case.named)
                                        for line in lines):
                yield f"names none of {', '.join(case.named)}"

    def _moved(self, case, outcome, before, after):
        allowed = tuple(f"box/{name}" for name in case.outputs) if outcome.status == 0 else ()
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path) and not any(
                    path == name or path.startswith(name + "/") or name.startswith(path + "/")
                    for name in allowed):
                yield f"{'left' if path not in before else 'changed'} {path}"
