"""Choose the tests that are nearest to a change, and run them for two minutes.

    python -m tests.quick               what differs from the last commit (`make quick`)
    python -m tests.quick --since main  what differs from a branch
    python -m tests.quick --list        which test files these are, nothing is run

Nearest are changed tests, then tests that import a changed module, then those that import a module
that imports one, and so on. What two minutes are too short for is told; `make test` runs all.
"""

import argparse
import ast
from pathlib import Path
import subprocess
import sys

from tern_fpga.assembler.errors import TernError, report
from tests.verilog import ROOT


__all__ = ["imports", "nearest", "main"]


SECONDS  = 120
PACKAGES = ("assembler", "boards", "firmware", "hw", "models", "sim", "tern_fpga", "tests")
ALWAYS   = ("tests/project",)           # rules of the project, which any change can break


def _git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8",
                          stderr=subprocess.PIPE)
    if done.returncode:
        raise TernError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def imports(path):
    """The files of the project, by name, that a Python file imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = name.removeprefix("tern_fpga.").replace(".", "/") + ".py"
            if file.split("/")[0] in PACKAGES and (ROOT / file).is_file():
                found.add(file)
    return found


def nearest(changed):
    """Test files in the order of their distance from the files ``changed``."""
    files   = _git("ls-files", "-co", "--exclude-standard", "--", *(f"{p}/*.py" for p in PACKAGES))
    uses    = {file: imports(file) for file in files if (ROOT / file).is_file()}
    reached = [file for file in changed if file in uses]
    for file in reached:                # grows
        reached += sorted(other for other, used in uses.items()
                          if file in used and other not in reached)
    return [file for file in reached if Path(file).name.startswith("test_")
            and not file.startswith("tests/models/")]       # `make test-models`: needs PyTorch


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.quick",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--since", default="HEAD", metavar="COMMIT", help="(default: HEAD)")
    parser.add_argument("--list", action="store_true", help="only tell which tests they are")
    arguments = parser.parse_args(argv)
    changed = [*_git("diff", "--name-only", arguments.since, "--"),
               *_git("ls-files", "-o", "--exclude-standard")]
    chosen  = [*nearest(changed), *ALWAYS]
    if arguments.list:
        print(*chosen, sep="\n")
        return 0
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile",
                           "--seconds", str(SECONDS), *chosen], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(report(main))
