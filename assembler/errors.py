"""The one exception for a user's mistake, and how a command line reports it."""

import os
import sys


__all__ = ["TernError", "report"]


class TernError(ValueError):
    """A mistake of the user: one line that says what, where, and what to do."""


def report(main, argv=None):
    """Run ``main(argv)`` and return its exit status (None counts as 0).

    A :class:`TernError` becomes one line on standard error and status 2; anything else is a
    defect of Tern and keeps its traceback.
    """
    try:
        return main(argv) or 0
    except TernError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:     # the reader of our output has left; say nothing more to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
