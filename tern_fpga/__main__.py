import sys

from tern_fpga.cli import script


if __name__ == "__main__":
    sys.exit(script())
