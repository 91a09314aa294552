"""Writes reports, with the commit of the sources that made them."""

import functools
import json
from pathlib import Path
import subprocess

from tern_fpga.assembler.files import disk


__all__ = ["commit", "made_by", "write_report"]


_ROOT = Path(__file__).resolve().parents[2]


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=_ROOT, capture_output=True,
                              encoding="utf-8", errors="replace").stdout.strip()
    except FileNotFoundError:
        return ""


@functools.cache
def commit() -> str:
    """The commit of the sources, and whether they differ from it, at the time of the first call.

    A command that runs for long calls it when it starts.
    """
    name = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    return f"{name} (and changes)" if _git("status", "--porcelain", "--", ".", ":!docs") else name


def made_by(command: str) -> str:
    """The sentence of a report that names the command and the commit that made it."""
    return f"Made by `{command}` at commit {commit()}."


def write_report(path: Path | str, page: str, **figures: object) -> None:
    """Write the text ``page`` to ``path``, and its figures to a JSON file beside it.

    The JSON file has the name of the page with the suffix ``.json`` and holds the commit and
    ``figures``. README and docs quote figures from it: see :mod:`tests.project.figures`.
    """
    text = json.dumps({"commit": commit(), **figures}, indent=1) + "\n"
    disk.write_text(Path(path).with_suffix(".json"), text)
    disk.write_text(path, page)
