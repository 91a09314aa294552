import sys

from tern_fpga.assembler.errors import report
from tern_fpga.hw.cli import main


if __name__ == "__main__":
    sys.exit(report(main))
