"""The one exception for a user's mistake, and how a command line reports it."""

import os
from pathlib import Path
import sys


__all__ = ["TernError", "one_line", "report", "missing"]


_LONGEST = 400             # characters of a message; what is longer loses its middle
_ROOT    = Path(__file__).parents[1]


class TernError(ValueError):
    """A mistake of the user: one line that says what, where, and what to do."""


def one_line(text):
    """A message as a terminal can show it, whatever names and values of a file are in it."""
    text = " ".join(str(text).split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST * 2 // 3]} ... {text[-_LONGEST // 3 + 5:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def report(main, argv=None):
    """Run ``main(argv)`` and return its exit status (None counts as 0).

    A :class:`TernError` becomes one line on standard error and status 2, and so does a package that
    is not installed; anything else is a defect of Tern and keeps its traceback. ``main`` imports
    what is not in the standard library.
    """
    for stream in (sys.stdout, sys.stderr):
        # What a terminal cannot show, as bytes of a prompt that are no text, is shown as \udcff.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return main(argv) or 0
    except TernError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        return missing(error)
    except MemoryError:
        print("error: this machine has too little memory for that", file=sys.stderr)
        return 2
    except BrokenPipeError:     # the reader of our output has left; say nothing more to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def missing(error):
    """Exit status for a package that is not installed; says what to type. ``error``: of an import;
    raised again if it is about a module of this project."""
    if error.name is None or (_ROOT / error.name.partition(".")[0]).is_dir():
        raise error
    environment = _ROOT / ".venv"
    here = environment.is_dir() and Path(sys.prefix).resolve() != environment.resolve()
    command = f". {environment / 'bin' / 'activate'}" if here else f"pip install -e {_ROOT}"
    print(f"error: the package {error.name} is not installed for {sys.executable}; type: {command}",
          file=sys.stderr)
    return 2
