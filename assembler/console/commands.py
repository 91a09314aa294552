"""A command line with subcommands. Each is a module with ``add_arguments`` and ``run``."""

import argparse
from collections.abc import Mapping, Sequence
import importlib
from typing import NoReturn

from tern_fpga.assembler.errors import as_typed, one_line


__all__ = ["Parser", "dispatch"]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all other errors."""
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {one_line(message)}; see `{self.prog} --help`\n")


def dispatch(prog: str, description: str | None, commands: Mapping[str, str],
             argv: Sequence[str] | None = None) -> int | None:
    """Parse ``argv`` and run the subcommand that it names; returns what its ``run`` returns.

    ``commands``: name -> name of a module with ``add_arguments(parser)`` and ``run(arguments)``.
    The module's docstring is the command's help. The module may also define HELP, a shorter
    summary, and EXAMPLE, a command line to show.
    """
    parser = Parser(prog=prog, description=as_typed(description or ""),
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in commands.items():
        command = importlib.import_module(module)
        about = as_typed(command.__doc__ or "")
        summary = as_typed(getattr(command, "HELP", about.partition("\n")[0]))
        example = getattr(command, "EXAMPLE", None)
        sub = choices.add_parser(name, help=summary, description=about,
                                 epilog=example and as_typed(f"example: {example}"),
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    status: int | None = arguments.run(arguments)
    return status
