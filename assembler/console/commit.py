"""Reports: the state of the sources that made one, and how it is written."""

import functools
import json
from pathlib import Path
import subprocess

from tern_fpga.assembler.files import disk


__all__ = ["commit", "made_by", "write_report"]


_ROOT = Path(__file__).resolve().parents[2]


def _git(*words):
    try:
        return subprocess.run(["git", *words], cwd=_ROOT, capture_output=True,
                              encoding="utf-8", errors="replace").stdout.strip()
    except FileNotFoundError:
        return ""


@functools.cache
def commit():
    """The commit of the sources when this was first called, and whether they differ from it.

    What runs for long calls it before it starts.
    """
    name = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    return f"{name} (and changes)" if _git("status", "--porcelain", "--", ".", ":!docs") else name


def made_by(command):
    """The sentence of a report about where it came from."""
    return f"Made by `{command}` at commit {commit()}."


def write_report(path, page, **figures):
    """Write the text ``page`` to ``path``, and its figures beside it as JSON.

    The JSON has the name of the page with the suffix ``.json`` and holds, besides ``figures``,
    the commit. README and docs quote figures from there: see :mod:`tests.project.figures`.
    """
    text = json.dumps({"commit": commit(), **figures}, indent=1) + "\n"
    disk.write_text(Path(path).with_suffix(".json"), text)
    disk.write_text(path, page)
