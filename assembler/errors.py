"""The one exception for a user's mistake, and how a command line reports it."""

import io
import os
from pathlib import Path
import sys


__all__ = ["TernError", "one_line", "report", "missing"]


_LONGEST = 500             # characters of a message; what is longer loses its middle
_ROOT    = Path(__file__).resolve().parents[1]


class TernError(ValueError):
    """A mistake of the user, or a failure of the machine: one line that says what, where, and what
    to do. Several arguments are as many mistakes, a line each."""
    def __str__(self):
        return "\n".join(map(str, self.args))


def one_line(text):
    """A message as a terminal can show it, whatever names and values of a file are in it."""
    text = " ".join(str(text).split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST * 2 // 3]} ... {text[-_LONGEST // 3 + 5:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Output(io.TextIOWrapper):
    """Standard output; what it cannot take is a TernError, unless its reader has left.

    What the encoding of its terminal lacks, as bytes of a prompt that are no text, is shown as
    ``\\udcff``.
    """
    def __init__(self, stream):
        self._stream = stream       # or it would close what both write to
        super().__init__(stream.buffer, stream.encoding, "backslashreplace",
                         line_buffering=stream.line_buffering,
                         write_through=stream.write_through)

    def write(self, text):
        return self._try(super().write, text)

    def flush(self):
        return self._try(super().flush)

    def _try(self, function, *arguments):
        try:
            return function(*arguments)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TernError(f"standard output: {error.strerror}") from None


def _prepare():
    """Both outputs take whatever is printed; one that is closed takes it, too, and an input that
    is closed is an empty one."""
    if type(sys.stdout) is io.TextIOWrapper:        # not where a test listens
        sys.stdout = _Output(sys.stdout)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _end(stream):
    """Write what is still to be written, or drop it: Python would show a traceback."""
    try:
        stream.flush()
    except (TernError, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _complain(*messages):
    try:
        for message in messages:
            print(f"error: {one_line(message)}", file=sys.stderr)
    except OSError:             # standard error is full: the status says it
        pass


def report(main, argv=None):
    """Run ``main(argv)`` and return its exit status (None counts as 0).

    A :class:`TernError` becomes a line on standard error, and status 2; so does a file, a disk
    or an output that fails (OSError), and a package that is not installed. Anything else is a
    defect of Tern and keeps its traceback. ``main`` imports what is not in the standard library.
    """
    _prepare()
    status = 2
    try:
        try:
            status = main(argv) or 0
        except SystemExit:      # of the parser, after the help
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except TernError as error:
        status = 2
        _complain(*error.args)
    except ModuleNotFoundError as error:
        status = 2
        missing(error)
    except MemoryError:
        status = 2
        _complain("this machine has too little memory for that")
    except BrokenPipeError:     # the reader of our output has left; say nothing more to it
        status = 1
    except OSError as error:
        status = 2
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        _complain(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        status = 130
    finally:
        _end(sys.stdout)
        _end(sys.stderr)
    return status


def missing(error):
    """Exit status for a package that is not installed; says what to type. ``error``: of an import;
    raised again if it is about a module of this project."""
    if error.name is None or (_ROOT / error.name.partition(".")[0]).is_dir():
        raise error
    if not (_ROOT / "pyproject.toml").exists():         # of a wheel
        _complain(f"the package {error.name} is not installed for {sys.executable}; type: "
                  f"pip install {error.name.partition('.')[0]}, or tern-fpga with the extra that "
                  f"has it: boards, plots or models")
        return 2
    environment = _ROOT / ".venv"
    here = environment.is_dir() and Path(sys.prefix).resolve() != environment.resolve()
    command = f". {environment / 'bin' / 'activate'}" if here else f"pip install -e {_ROOT}"
    _complain(f"the package {error.name} is not installed for {sys.executable}; type: {command}")
    return 2
