"""Uploads and conversations over a noisy line to the simulated board: docs/reports/link.md.

    python -m tests.campaigns.noise --runs 20 -o docs/reports/link.md

At 25 Mbaud, which is the fastest and the least to simulate, and fewer runs at that of the boards.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
import time

import numpy as np
from rich.console import Console

from tern_fpga.assembler.console.commit import made_by, write_report
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk
from tern_fpga.assembler.files.image import Section
from tern_fpga.firmware import programs
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.link import LinkError
from tern_fpga.firmware.port import BAUD
from tern_fpga.firmware.upload import upload
from tern_fpga.sim.commands import board
from tests.compiled import CONFIGS


__all__ = ["BAUDS", "BoardPort", "Outcome", "larger", "expected", "one_run", "PROMPT", "TOKENS"]


BAUDS  = (board.BAUD, BAUD)         # the simulated board's, and the real ones'
RATE   = 0.001
PROMPT = [3, 1, 4]
TOKENS = 12
CONVERSATIONS = 3


class BoardPort:
    """The simulated board of this process, with the members of a port of the firmware."""
    name, latency = "sim", 0.0

    def __init__(self, config, *, baud=board.BAUD, **options):
        self.baud  = baud
        self.board = board.Board(config, baud=baud, **options)
        self._early = b""

    def time(self):
        return self.board.cycles / board.CLOCK_HZ

    def write(self, data):
        self.board.write(data)

    def read(self, seconds):
        early, self._early = self._early, b""
        return early or self.board.read(max(1, round(seconds * board.CLOCK_HZ)))

    def sleep(self, seconds):
        end = self.time() + seconds
        while (left := end - self.time()) > 0:
            self._early += self.board.read(max(1, round(left * board.CLOCK_HZ)))

    def close(self):
        self.board.close()


def larger(config, ballast=6000):
    """The token loop and some KB that it does not need."""
    image = programs.token_loop(config)
    data = np.random.default_rng(7).integers(0, 256, ballast // 16 * 16, np.uint8)
    image.sections.append(Section("ballast", 0x1000, len(data), data))
    return image


def expected(config):
    """The tokens that follow PROMPT."""
    _, follows = programs.successor(config)
    tokens = [follows(PROMPT[-1])]
    while len(tokens) < TOKENS:
        tokens.append(follows(tokens[-1]))
    return tokens


@dataclass
class Outcome:
    """``error``: what the host said, or None; ``wrong``: bytes or tokens that are not right."""
    baud: int
    seed: int
    hits: int
    repeats: int
    error: str | None
    wrong: int
    milliseconds: float


def one_run(config, seed, *, baud=board.BAUD, rate=RATE, conversations=CONVERSATIONS,
            ballast=6000, **options):
    """Upload and talk once; the port is closed. ``options``: of
    :class:`sim.commands.board.Board`."""
    port = BoardPort(config, baud=baud, noise=rate, seed=seed, **options)
    image = larger(config, ballast)
    wrong, error, host = 0, None, None
    start = port.time()
    try:
        host = Board(port)
        upload(host, image)
        data = image.memory()
        wrong += int((port.board.memory[:len(data)] != data).sum())
        host.start(image.program_address, image.program_length)
        for _ in range(conversations):
            found = [token for token, _ in host.converse(config, PROMPT, TOKENS)]
            wrong += found != expected(config)
    except LinkError as problem:
        error = str(problem)
    hits = sum(noise.hits for noise in port.board.noise)
    outcome = Outcome(baud, seed, hits, host.link.retries if host else 0, error, wrong,
                      1e3 * (port.time() - start))
    port.close()
    return outcome


def _page(outcomes, config):
    size = sum(section.size for section in larger(config).sections)
    lines = [
        "# The link under noise", "",
        made_by("make noise"), "",
        f"{len(outcomes)} times, an image of {size:,} bytes is uploaded to the "
        f"simulated SoC with its SDRAM and three conversations of {TOKENS} tokens follow, over a "
        f"line on which one byte in {round(1 / RATE):,} is changed, lost or doubled, in each "
        f"direction. Memory and tokens are compared with what they must be. Times are the "
        f"board's. {BAUDS[0] / 1e6:g} Mbaud are as fast as the hardware takes them, 4 cycles a "
        f"bit; "
        f"{BAUDS[1] / 1e6:g} Mbaud are the boards', {board.CLOCK_HZ / BAUDS[1]:.1f} cycles.", "",
        "| Mbaud | seed | bytes hit | repeats | ms | memory and tokens | end |",
        "| --- | --- | --- | --- | --- | --- | --- |"]
    for o in outcomes:
        right = "right" if not o.wrong else f"**{o.wrong} wrong**"
        lines.append(f"| {o.baud / 1e6:g} | {o.seed} | {o.hits} | {o.repeats} | "
                     f"{o.milliseconds:.1f} | {right} | {o.error or 'finished'} |")
    finished = sum(o.error is None for o in outcomes)
    lines += ["", f"{finished} of {len(outcomes)} finished, {len(outcomes) - finished} ended with "
              f"an error, {sum(bool(o.wrong) for o in outcomes)} had anything wrong.", ""]
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--slow-runs", type=int, default=5, help="at the boards' speed")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(argv)
    disk.has_folder(args.output)
    config, console, outcomes = CONFIGS["narrow"], Console(), []
    for baud, seed in [(baud, seed) for baud, runs in zip(BAUDS, (args.runs, args.slow_runs))
                       for seed in range(runs)]:
        start = time.monotonic()
        outcomes.append(one_run(config, seed, baud=baud))
        console.print(f"{outcomes[-1]}, {time.monotonic() - start:.1f} s", highlight=False)
    write_report(args.output, _page(outcomes, config), runs=len(outcomes),
                 conversations=CONVERSATIONS * len(outcomes),
                 right=sum(not o.wrong and o.error is None for o in outcomes))
    return any(o.wrong for o in outcomes)


if __name__ == "__main__":
    raise SystemExit(report(main))
