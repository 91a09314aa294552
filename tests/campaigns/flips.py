"""Bits of the weights go bad in the memory of the simulated core: docs/reports/flips.md.

    python -m tests.campaigns.flips --flips 500 -o docs/reports/flips.md
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import random
import tempfile
import time
import zlib

from rich.console import Console

from tern_fpga.assembler.console.commit import commit, made_by, write_report
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk
from tern_fpga.sim import host
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.campaigns.programs.machines import CONFIGS
from tests.compiled import random_image
from tests.sim.test_lockstep import ODD


__all__ = ["Flip", "Outcome", "Campaign", "MACHINES", "STREAMS", "KINDS", "UNSEEN", "GENERATOR",
           "spread"]


# By the bits of a memory word. Small ones that other tests build too.
MACHINES = {config.memory_bits: config for config in (CONFIGS["narrow"], ODD, CONFIGS["wide"])}

STREAMS = ("body", "head")
MOST    = 256               # words that a row of a memory loses at once
SHAPE   = dict(hidden=30, inner=25, layers=4, vocab=30)
TOKENS  = 3
PROMPT  = [7]


@dataclass(frozen=True)
class Flip:
    """Bits of memory words that go bad together.

    ``words``: address -> mask of the bits. ``late``: they go bad after that share of the second
    token; None: before the program starts.
    """
    words: dict[int, int]
    late: float | None = None


@dataclass(frozen=True)
class Outcome:
    """``reported``: by the check after which token, None if by none; ``changed``: whether the
    tokens up to there are others."""
    reported: int | None
    changed: bool


class Campaign:
    """A machine with a small model in its memory.

    Parameters
    ----------
    bits : int
        Of :data:`MACHINES`.
    seed : int

    Members
    -------
    tokens, cycles : list of int
        What the machine says if nothing is wrong, and cycles from each token to the next.
    """
    def __init__(self, bits, seed=0):
        self.config = MACHINES[bits]
        with tempfile.TemporaryDirectory() as folder:
            self.image = random_image(Path(folder), self.config, **SHAPE)
        self.machine = RtlMachine(self.image, seed=seed, gap=8)
        self.draw = random.Random(f"{bits} {seed}")
        self.tokens, self.cycles = None, [0] * TOKENS
        assert self.run() == Outcome(None, False)

    def stream(self, name):
        """(first word, number of words) of a weight stream."""
        sizes = {entry["name"]: entry["words"] for entry in self.image.manifest["weight_streams"]}
        first = self.image.section("weights").address
        return first + (name == "head") * sizes["body"], sizes[name]

    def word(self, address):
        size = self.config.word_bytes
        return int.from_bytes(self.machine.memory[address * size:][:size].tobytes(), "little")

    def flip(self, number, kind="one bit"):
        """The flip of this number and of a key of :data:`KINDS`: streams and times take turns, and
        so do the bits of a word."""
        late  = self.draw.random() * 0.8 if number % 8 in (3, 6) else None
        words = {}
        while not any(words.values()):
            words = KINDS[kind](self, self.draw, number)
        return Flip(words, late)

    def _toggle(self, flip):
        size = self.config.word_bytes
        for address, mask in flip.words.items():
            for place in range(size):
                self.machine.memory[address * size + place] ^= mask >> 8 * place & 0xff

    def run(self, flip=None):
        """TOKENS tokens at most, checked as a host does; the memory is right again after it."""
        machine, check = self.machine, self.image.weight_check()
        machine.stop()
        machine.tokens.clear()
        if flip and flip.late is None:
            self._toggle(flip)
        machine.start()
        machine.send(host.conversation(self.config, PROMPT, TOKENS))
        reported = None
        for number in range(1, TOKENS + 1):
            before = machine.total_cycles
            machine.run(tokens=number)
            if self.tokens is None:
                self.cycles[number - 1] = machine.total_cycles - before
            if not check.agrees(machine.sums):
                reported = number
                break
            if flip and flip.late is not None and number == 1:
                machine.clock(int(flip.late * self.cycles[1]))
                self._toggle(flip)
        if flip:
            machine.stop()
            self._toggle(flip)
        if self.tokens is None:
            self.tokens = [*machine.tokens]
        return Outcome(reported, machine.tokens != self.tokens[:len(machine.tokens)])


# What goes bad together: functions of a campaign, a random number generator and a number, to masks
# by address. They draw places and bits; a mask of 0 is drawn again.

def _place(campaign, draw, number, words=1):
    """Address of as many words in a row, all of one stream."""
    first, size = campaign.stream(STREAMS[number % 2])
    return first + draw.randrange(max(1, size - words + 1))


def _one_bit(campaign, draw, number):
    return {_place(campaign, draw, number): 1 << number // 2 % campaign.config.memory_bits}


def _two_bits(campaign, draw, number):
    first, second = draw.sample(range(campaign.config.memory_bits), 2)
    return {_place(campaign, draw, number): 1 << first | 1 << second}


def _some_bits(campaign, draw, number):
    bits = draw.sample(range(campaign.config.memory_bits),
                       draw.randrange(3, campaign.config.memory_bits))
    return {_place(campaign, draw, number): sum(1 << bit for bit in bits)}


def _whole_word(campaign, draw, number):
    """All ones, all zeros, all inverted, or any other word."""
    ones, at = (1 << campaign.config.memory_bits) - 1, _place(campaign, draw, number)
    new = draw.choice((0, ones, campaign.word(at) ^ ones, draw.randrange(ones + 1)))
    return {at: campaign.word(at) ^ new}


def spread(campaign, address, start, pattern):
    """Masks of the bits of ``pattern``, from bit ``start`` of the word at ``address`` on."""
    bits, pattern, words = campaign.config.memory_bits, pattern << start, {}
    while pattern:
        words[address] = pattern & (1 << bits) - 1
        address, pattern = address + 1, pattern >> bits
    return words


def _burst(campaign, draw, number, low=2, high=32):
    length  = draw.randrange(low, high + 1)
    pattern = draw.getrandbits(length) | 1 | 1 << length - 1
    start   = draw.randrange(campaign.config.memory_bits)
    words   = (start + length - 1) // campaign.config.memory_bits + 1
    return spread(campaign, _place(campaign, draw, number, words), start, pattern)


def _long_burst(campaign, draw, number):
    return _burst(campaign, draw, number, 33, 512)


def _same_bit(campaign, draw, number):
    """Of two words of a stream: a sum of words could hide it."""
    bit = 1 << draw.randrange(campaign.config.memory_bits)
    first, second = (_place(campaign, draw, number) for _ in range(2))
    return {first: bit, second: bit}        # twice the same place is one bit


def _some_words(campaign, draw, number):
    """1 to 3 bits each of 2 to 8 words, of either stream."""
    return {_place(campaign, draw, draw.randrange(2)): sum(
        1 << bit for bit in draw.sample(range(campaign.config.memory_bits), draw.randrange(1, 4)))
        for _ in range(draw.randrange(2, 9))}


def _places(campaign, draw, number):
    """Two words of a stream change places, as with an address line that is bad for a moment."""
    first, second = (_place(campaign, draw, number) for _ in range(2))
    return dict.fromkeys((first, second), campaign.word(first) ^ campaign.word(second))


def _row(campaign, draw, number):
    """Many words in a row become one word, as of a row that was not refreshed."""
    first, size = campaign.stream(STREAMS[number % 2])
    words = min(MOST, size)
    at, new = _place(campaign, draw, number, words), draw.getrandbits(campaign.config.memory_bits)
    return {at + n: campaign.word(at + n) ^ new for n in range(words)}


KINDS = {
    "one bit": _one_bit,
    "two bits of a word": _two_bits,
    "some bits of a word": _some_bits,
    "a whole word": _whole_word,
    "a burst of 2 to 32 bits": _burst,
    "a burst of 33 to 512 bits": _long_burst,
    "the same bit of two words": _same_bit,
    "bits of 2 to 8 words": _some_words,
    "two words change places": _places,
    f"up to {MOST} words in a row": _row,
}


# What the checksum cannot see, by its construction: docs/decisions/weight-checksum.md.

GENERATOR = 0x104c11db7


def a_multiple_of_the_generator(campaign):
    """33 bits that leave the CRC of a stream as it is."""
    reflected = int(f"{GENERATOR:b}"[::-1], 2)          # the first bit has the highest power
    return Flip(spread(campaign, campaign.stream("body")[0] + 5, 0, reflected))


def two_streams_that_cancel(campaign):
    """A bit of the body, and 32 bits of the head whose CRC changes by the opposite."""
    size = campaign.config.word_bytes
    data = {}
    for name in STREAMS:
        first, words = campaign.stream(name)
        data[name] = campaign.machine.memory[first * size:(first + words) * size].tobytes()
    body  = bytes([data["body"][0] ^ 1]) + data["body"][1:]
    want  = zlib.crc32(data["head"]) - zlib.crc32(body) + zlib.crc32(data["body"])
    left  = want % (1 << 32) ^ zlib.crc32(data["head"])
    # What each of the first 32 bits of the head changes; these are independent.
    basis = {}                      # highest bit -> (change, bits that make it)
    for bit in range(32):
        head = (int.from_bytes(data["head"][:4], "little") ^ 1 << bit).to_bytes(4, "little")
        change, made = zlib.crc32(head + data["head"][4:]) ^ zlib.crc32(data["head"]), 1 << bit
        while (top := change.bit_length()) in basis:
            change, made = change ^ basis[top][0], made ^ basis[top][1]
        basis[top] = change, made
    pattern = 0
    while left:
        change, made = basis[left.bit_length()]
        left, pattern = left ^ change, pattern ^ made
    return Flip({campaign.stream("body")[0]: 1}
                | spread(campaign, campaign.stream("head")[0], 0, pattern))


def a_gain(campaign):
    """A bit of what the program loads: no stream."""
    return Flip({campaign.image.section("parameters").address: 1})


UNSEEN = (a_multiple_of_the_generator, two_streams_that_cancel, a_gain)


@dataclass(frozen=True)
class Run:
    """``kind``: a key of :data:`KINDS`, the name of one of :data:`UNSEEN`, or None: no flip."""
    bits: int
    kind: str | None
    stream: str | None
    flip: Flip | None
    outcome: Outcome

    @property
    def wrong(self):
        """Whether what should be reported was not, or the other way."""
        return (self.outcome.reported is None) == (self.kind in KINDS) or (
            self.kind is None and self.outcome.changed)


def _row_of(runs):
    """Cells of a table: how many, when they were reported, and with other tokens."""
    after = Counter(run.outcome.reported for run in runs)
    return [str(len(runs)), *(str(after[n]) for n in (1, 2, 3, None)),
            str(sum(run.outcome.changed for run in runs))]


def _table(heads, rows):
    lines = [heads, ["---"] * (len(heads) - 6) + ["---:"] * 6, *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


_COUNTS = ["flips", "after token 1", "2", "3", "not reported", "other tokens"]


def _counts(runs):
    """What the page says in one sentence."""
    def reported(some):
        return sum(run.outcome.reported is not None for run in some)

    single  = [run for run in runs if run.kind == "one bit"]
    several = [run for run in runs if run.kind in KINDS and run.kind != "one bit"]
    clean   = [run for run in runs if run.kind is None]
    return {"flips": len(single), "reported": reported(single),
            "patterns": len(several), "patterns_reported": reported(several),
            "clean": len(clean), "false_reports": sum(run.wrong for run in clean)}


def _page(runs, arguments, seconds):
    single  = [run for run in runs if run.kind == "one bit"]
    several = [run for run in runs if run.kind in KINDS and run.kind != "one bit"]
    counts  = _counts(runs)
    lines = [
        "# Bits of the weights that go bad", "",
        made_by(f"python -m tests.campaigns.flips --flips {arguments.flips} "
                f"--patterns {arguments.patterns} "
                f"--seed {arguments.seed} --bits {' '.join(map(str, arguments.bits))}"), "",
        f"{seconds:.0f} s of the processor, without the builds. In each run bits of the weights "
        f"in the memory of the simulated core (RTL, a random model of {SHAPE['layers']} layers) "
        f"are turned over, before the program starts or while it computes the second of {TOKENS} "
        f"tokens; the host compares the checksum of the weight stream with the manifest after "
        f"each token. *other tokens*: the model said something else before the report; in all "
        f"other runs the checksum alone told.", "",
        "**{reported} of {flips} single bits reported, and {patterns_reported} of {patterns} "
        "patterns of several bits**; {false_reports} of {clean} runs without a flip reported or "
        "wrong.".format(**counts), "", "## One bit", ""]
    groups = dict.fromkeys((run.bits, run.stream, run.flip.late is None) for run in single)
    rows = []
    for bits, stream, early in groups:
        found = [run for run in single
                 if (run.bits, run.stream, run.flip.late is None) == (bits, stream, early)]
        hit   = len({mask for run in found for mask in run.flip.words.values()})
        rows.append([f"{bits} bits", stream, "before" if early else "meanwhile", str(hit),
                     *_row_of(found)])
    lines += _table(["memory word", "stream", "when", "bits of the word hit", *_COUNTS], rows)
    lines += ["", "## Several bits", ""]
    lines += _table(["memory word", "what", *_COUNTS], [
        [f"{bits} bits", kind, *_row_of(found)] for kind in KINDS if kind != "one bit"
        for bits in arguments.bits
        if (found := [run for run in several if (run.bits, run.kind) == (bits, kind)])])
    lines += ["", "## What cannot be seen", "",
              "By construction of a sum of CRC-32s of what streams read: built on purpose, one run "
              "each. Of random patterns longer than 32 bits one in 2^32 is like the first or the "
              "second, too few to meet one here. The third is no part of a stream: gains, bounds, "
              "embedding and program have no checksum after the upload's.", ""]
    lines += _table(["memory word", "what", *_COUNTS], [
        [f"{run.bits} bits", run.kind, *_row_of([run])] for run in runs
        if run.kind in {each.__name__.replace("_", " ") for each in UNSEEN}])
    lines += [""] + [f"Not as it should be: {run}." for run in runs if run.wrong]
    return "\n".join(lines).rstrip() + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=500, help="of one bit")
    parser.add_argument("--patterns", type=int, default=60, help="of each kind of several bits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bits", type=int, nargs="+", choices=MACHINES, default=[*MACHINES],
                        help="machines, by the bits of their memory words (default: all)")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.output:
        disk.has_folder(arguments.output)
    commit()                        # the one that begins
    console, runs, start = Console(), [], time.process_time()

    def note(*parts):
        runs.append(Run(*parts))
        if runs[-1].wrong:
            console.print(f"[red]not as it should be[/] {runs[-1]}", highlight=False)

    for part, bits in enumerate(arguments.bits):
        campaign = Campaign(bits, arguments.seed)
        for kind in KINDS:
            count = arguments.flips if kind == "one bit" else arguments.patterns
            for number in range(part, count, len(arguments.bits)):
                turn = number // len(arguments.bits)
                if turn % 10 == 0:
                    note(bits, None, None, None, campaign.run())
                flip = campaign.flip(turn, kind)
                note(bits, kind, STREAMS[turn % 2], flip, campaign.run(flip))
        for build in UNSEEN:
            flip = build(campaign)
            note(bits, build.__name__.replace("_", " "), None, flip, campaign.run(flip))
        console.print(f"{bits} bits: {len(runs)} runs so far, {time.process_time() - start:.0f} s",
                      highlight=False)
    page = _page(runs, arguments, time.process_time() - start)
    console.print(page, highlight=False, markup=False)
    if arguments.output:
        write_report(arguments.output, page, **_counts(runs))
    return any(run.wrong for run in runs)


if __name__ == "__main__":
    raise SystemExit(report(main))
