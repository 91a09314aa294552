import sys

from tern_fpga.assembler.cli import main
from tern_fpga.assembler.errors import report


if __name__ == "__main__":
    sys.exit(report(main))
