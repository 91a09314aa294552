"""A command line of subcommands: one module each, with ``add_arguments`` and ``run``."""

import argparse
import importlib

from tern_fpga.assembler.errors import one_line


__all__ = ["Parser", "dispatch"]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others are."""
    def error(self, message):
        self.exit(2, f"error: {one_line(message)}; see `{self.prog} --help`\n")


def dispatch(prog, description, commands, argv=None):
    """Parse ``argv`` and run the subcommand that it names; returns what its ``run`` returns.

    ``commands``: name -> name of a module with ``add_arguments(parser)`` and ``run(arguments)``.
    Its docstring is the command's help; it may have HELP, a shorter summary, and EXAMPLE, a command
    line to show.
    """
    parser = Parser(prog=prog, description=description,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in commands.items():
        command = importlib.import_module(module)
        summary = getattr(command, "HELP", command.__doc__.splitlines()[0])
        example = getattr(command, "EXAMPLE", None)
        sub = choices.add_parser(name, help=summary, description=command.__doc__,
                                 epilog=example and f"example: {example}",
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)
