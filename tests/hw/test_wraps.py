"""What counts in few bits in the host's code goes past its end: numbers of requests, counters."""

from argparse import Namespace
import random

import pytest

from tern_fpga.assembler.contract import link as table
from tern_fpga.assembler.contract.config import CLOCK_MHZ, SDRAM_MHZ
from tern_fpga.assembler.contract.link import Code
from tern_fpga.assembler.contract.registers import register
from tern_fpga.firmware import counters, link as links, selftest
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.link import Link
from tests.campaigns.noise import BoardPort
from tests.compiled import CONFIGS, TINY_A, compiled
from tests.firmware.golden_board import GoldenPort
from tests.firmware.test_firmware import PROMPTS


CONFIG  = CONFIGS["narrow"]
NUMBERS = 256


class Losing:
    """The golden board behind a line that loses whole frames, by their places in the talk."""
    name, baud, latency = "losing", GoldenPort.baud, 0.0

    def __init__(self, requests=(), answers=()):
        self.golden = GoldenPort(CONFIG)
        self.lost = set(requests), set(answers)
        self.seen = [0, 0]              # frames so far, to the board and from it
        self.sent = []                  # payloads, lost or not

    def time(self):
        return self.golden.time()

    def _passes(self, way):
        self.seen[way] += 1
        return self.seen[way] - 1 not in self.lost[way]

    def write(self, data):
        for frame in filter(None, data.split(table.DELIMITER)):
            self.sent.append(table.decode(frame))
            if self._passes(0):
                self.golden.write(frame + table.DELIMITER)

    def read(self, seconds):
        data = self.golden.read(seconds)
        # The golden port gives up to a zero, which may be the one behind it alone.
        return data if not data.strip(table.DELIMITER) or self._passes(1) else table.DELIMITER


def talk(monkeypatch, start, **losses):
    """A fixed talk whose first request has the number ``start``: what was heard, and what was
    sent, its numbers counted from ``start`` on."""
    monkeypatch.setattr(links.os, "urandom", lambda count: bytes([start]) * count)
    port = Losing(**losses)
    host = Link(port)
    data = random.Random(1).randbytes(24 * table.DATA_BYTES)
    words = table.DATA_BYTES // CONFIG.word_bytes
    heard = host.ask_all([(Code.WRITE_MEMORY, n * words, words, data[n * 2 * words:][:2 * words])
                          for n in range(24)])
    heard += host.ask_all([(Code.READ_MEMORY, n * words, words, b"") for n in range(24)])
    assert b"".join(answer for _, answer in heard) == data
    sent = [((payload[0] - start) % NUMBERS, payload[1]) for payload in port.sent]
    return heard, sent, host.retries


# SYNCs, which then have other numbers; an answer in the middle of a window, several, the last of
# one; a request; all answers for a while; and the end of a window, its newest again when asked for.
LOSSES = [{}, {"requests": {0}}, {"requests": {0, 1, 2}}, {"answers": {0}}, {"answers": {5}},
          {"answers": {3, 4, 5}}, {"answers": {8}}, {"requests": {6}},
          {"answers": set(range(2, 14))}, {"answers": {21, 22, 23, 24, 28}},
          {"requests": {4, 9, 20}, "answers": {6, 7, 11, 30}}]


@pytest.mark.parametrize("losses", LOSSES, ids=str)
def test_a_talk_is_the_same_whatever_its_first_number(monkeypatch, losses):
    """Also where a window of requests and its answers lie on both sides of 255."""
    expected = talk(monkeypatch, 0, **losses)
    assert expected[1][-1][0] > 40 and (losses == {}) == (len(expected[1]) == 49)
    for start in (1, 100, *range(NUMBERS - 64, NUMBERS)):
        assert talk(monkeypatch, start, **losses) == expected, start


@pytest.mark.parametrize("port, windows", [(GoldenPort, NUMBERS), (BoardPort, 3)],
                         ids=["golden", "simulated line"])
def test_more_requests_than_there_are_numbers(port, windows):
    """Alone, and a window at a time."""
    board = Board(port(CONFIG))
    for n in range(NUMBERS + 20):
        board.write("program_address", n)
    data = random.Random(2).randbytes(windows * table.WINDOW * table.DATA_BYTES)
    board.write_memory(3, data)
    assert board.read_memory(3, len(data) // CONFIG.word_bytes) == data
    assert board.digest == CONFIG.digest and board.link.retries == 0
    board.port.close()


def test_cycles_may_wrap_while_the_clock_is_measured():
    port, found = GoldenPort(CONFIG), []
    read = port.core.read

    def near_its_end(address):
        """The counter of cycles, as if it were near its end when it is read first."""
        value = read(address)
        if address != register("cycles").address:
            return value
        found.append(value)
        return (value - found[0] - 1000) % (1 << 32)

    port.core.read = near_its_end
    assert selftest.clock(Board(port), CONFIG, Namespace(port="sim")) == "100.0 MHz"
    assert len(found) == 2 and found[1] - found[0] > 1000


def test_no_counter_of_a_board_wraps_twice_while_it_is_watched():
    longest = counters._seconds("30")
    assert longest * 1e6 * float(max([*CLOCK_MHZ.values(), *SDRAM_MHZ.values()])) < 1 << 32
    with pytest.raises(ValueError):
        counters._seconds("30.001")


def test_as_many_prompts_as_slots_and_more():
    """Slots 0 to 7: a word to the host has four bits for them."""
    config = CONFIGS["many"]
    image  = compiled(TINY_A, config)
    port   = GoldenPort(config)
    board  = Board(port)
    data   = image.memory()
    port.core.memory[:len(data)] = data
    board.start(image.program_address, image.program_length)
    prompts = [*PROMPTS, *([n, n + 1] for n in range(config.positions))]
    alone = [[token for token, _ in board.converse(config, ids, 3, slot=n % config.positions)]
             for n, ids in enumerate(prompts)]
    together = [[] for _ in prompts]
    for number, token, _ in board.converse_all(config, [(ids, 3) for ids in prompts]):
        together[number].append(token)
    assert together == alone and config.positions == 8
