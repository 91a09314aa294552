"""The one exception for a user's mistake, and how a command line reports it."""

from collections.abc import Callable, Sequence
import io
import os
from pathlib import Path
import re
import sys
from typing import ParamSpec, TextIO, TypeVar


__all__ = ["TernError", "Main", "as_typed", "one_line", "report", "missing"]


Main = Callable[[Sequence[str] | None], int | None]     # a command line: argv -> exit status

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LONGEST = 500             # characters of a message; a longer one loses its middle
# Package -> its commands, behind `tern-fpga`.
_COMMANDS = {"assembler": " compile", "boards": " boards", "firmware": "", "hw": " hw", "sim": ""}

_ROOT    = Path(__file__).resolve().parents[1]


class TernError(ValueError):
    """A mistake of the user, or a failure of the machine.

    Each argument is one mistake: a line that says what is wrong, where, and what to do.
    """
    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


def as_typed(text: str) -> str:
    """Commands in a text as this user types them: with ``tern-fpga`` instead of ``python -m``, if
    that is how Tern was called."""
    called = Path(sys.argv[0])
    if called.stem != "tern-fpga" and called.parent.name != "tern_fpga":
        return text
    return re.sub(r"python -m (assembler|boards|firmware|hw|sim)\b",
                  lambda found: f"tern-fpga{_COMMANDS[found[1]]}", text)


def one_line(text: object) -> str:
    """The message as one printable line.

    Names and values from a file may hold line breaks and control characters: line breaks become
    spaces, other characters that do not print are escaped. A long message loses its middle.
    """
    text = as_typed(" ".join(str(text).split()))
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST * 2 // 3]} ... {text[-_LONGEST // 3 + 5:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Output(io.TextIOWrapper):
    """Standard output. A failed write is a TernError; a closed pipe stays a BrokenPipeError.

    Characters that the terminal's encoding lacks, such as bytes of a prompt that are not text, are
    written as escapes like ``\\udcff``.
    """
    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream       # if it were collected, it would close the shared buffer
        super().__init__(stream.buffer, stream.encoding, "backslashreplace",
                         line_buffering=stream.line_buffering,
                         write_through=stream.write_through)

    def write(self, text: str) -> int:
        return self._try(super().write, text)

    def flush(self) -> None:
        return self._try(super().flush)

    def _try(self, function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        try:
            return function(*arguments, **options)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TernError(f"standard output: {error.strerror}") from None


def _prepare() -> None:
    """Make the standard streams safe to use.

    Both outputs escape characters that they cannot encode. A closed output discards what is
    written to it; a closed input reads as empty.
    """
    if type(sys.stdout) is io.TextIOWrapper:        # not if a test has replaced it
        sys.stdout = _Output(sys.stdout)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _end(stream: TextIO) -> None:
    """Flush the stream. If that fails, discard its buffer, or Python would print a traceback."""
    try:
        stream.flush()
    except (TernError, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _complain(*messages: object) -> None:
    try:
        for message in messages:
            print(f"error: {one_line(message)}", file=sys.stderr)
    except OSError:             # standard error failed; the exit status reports the error
        pass


def report(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run ``main(argv)`` and return its exit status (None counts as 0).

    A :class:`TernError` becomes a line on standard error, and status 2. So does an OSError (a
    file, a disk or an output fails) and a package that is not installed. Any other exception is a
    defect of Tern and keeps its traceback. Import modules outside the standard library in
    ``main``, so that a missing one is reported like this.
    """
    _prepare()
    status = 2
    try:
        try:
            status = main(argv) or 0
        except SystemExit:      # the parser exits after it has printed the help
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
    except BrokenPipeError:     # the reader of our output has closed it
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


def missing(error: ModuleNotFoundError) -> int:
    """Report a package that is not installed and how to install it; returns the exit status.

    ``error`` was raised by an import. It is raised again if it names a module of this project.
    """
    if error.name is None or (_ROOT / error.name.partition(".")[0]).is_dir():
        raise error
    if not (_ROOT / "pyproject.toml").exists():         # installed from a wheel
        _complain(f"the package {error.name} is not installed for {sys.executable}; type: "
                  f"pip install {error.name.partition('.')[0]}, or tern-fpga with the extra that "
                  f"has it: boards, plots or models")
        return 2
    environment = _ROOT / ".venv"
    here = environment.is_dir() and Path(sys.prefix).resolve() != environment.resolve()
    command = f". {environment / 'bin' / 'activate'}" if here else f"pip install -e {_ROOT}"
    _complain(f"the package {error.name} is not installed for {sys.executable}; type: {command}")
    return 2
