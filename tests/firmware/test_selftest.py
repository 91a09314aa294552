"""The doctor: a healthy board, and ills that it must name. Ports that are real, or nearly."""

from argparse import Namespace
import os
import re
import subprocess
import sys
import threading
import tty

import numpy as np
import pytest
from serial.tools.list_ports_common import ListPortInfo

from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import TernError
from tern_fpga.firmware import port as ports, programs, selftest
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.port import SerialPort
from tests.campaigns.noise import BoardPort
from tests.compiled import CONFIGS
from tests.firmware.golden_board import GoldenPort
from tests.verilog import ROOT


CONFIG = CONFIGS["narrow"]
ARGS = Namespace(port=ports.SIM, words=3000, target=None)


class Faulty(np.ndarray):
    """Memory whose writes go wrong as ``fault`` says: a function of the array."""
    fault = None

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if self.fault:
            self.fault()


def board_with(fault=None):
    port = GoldenPort(CONFIG)
    port.core.memory = port.core.memory.view(Faulty)
    memory = np.ndarray.view(port.core.memory, np.ndarray)
    port.core.memory.fault = fault and (lambda: fault(memory))
    return Board(port)


@pytest.mark.parametrize("check", [check for check in selftest.CHECKS
                                   if check is not selftest.speed])
def test_a_healthy_board_passes(check):
    assert check(board_with(), CONFIG, ARGS)


@pytest.fixture
def doctor(monkeypatch):
    """The whole command, on the golden machine: it counts no cycles, so there is no `speed`."""
    def run(made, port=ports.SIM):
        monkeypatch.setattr(ports, "open_port", lambda args, config: made)
        monkeypatch.setattr(selftest, "CHECKS", tuple(check for check in selftest.CHECKS
                                                      if check is not selftest.speed))
        return selftest.run(Namespace(port=port, words=3000, target=None))
    return run


@pytest.mark.parametrize("port", [ports.SIM, "/dev/ttyUSB0"])
def test_every_check_says_a_line(doctor, port, capsys):
    assert doctor(GoldenPort(preset("sim-tiny")), port) == 0
    said = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert said == [[check.__name__, "ok"] for check in selftest.CHECKS]


def test_an_ill_is_named_with_its_remedy_and_ends_it(doctor, capsys):
    made = GoldenPort(preset("sim-tiny"))
    made.clock_hz = 90_000_000
    assert doctor(made) == 1
    ill, remedy = capsys.readouterr().out.splitlines()[-2:]
    assert ill.startswith("clock     FAILED  90.0 MHz") and remedy.startswith(" " * 18)


def test_a_machine_that_is_no_preset_needs_a_target(doctor):
    with pytest.raises(TernError, match="no preset machine .* name the nearest with --target"):
        doctor(GoldenPort(CONFIG), "/dev/ttyUSB0")


def test_a_wrong_clock_is_named():
    board = board_with()
    board.port.clock_hz = 90_000_000
    with pytest.raises(selftest.Failed, match="90.0 MHz, built for 100.0 MHz"):
        selftest.clock(board, CONFIG, ARGS)


def test_another_machine_is_named():
    with pytest.raises(selftest.Failed, match="has config .*, not"):
        selftest.identity(board_with(), preset("sim-tiny"), ARGS)


def test_a_stuck_data_line_is_named():
    def fault(memory):
        memory[1::2] |= 4

    with pytest.raises(selftest.Failed, match="data line 0: wrote 0x1, read 0x401"):
        selftest.lines(board_with(fault), CONFIG, ARGS)


def test_a_stuck_address_line_is_named():
    def fault(memory):              # line 7 is open: word 0x80 is word 0
        both = memory.view(np.uint16)
        new = both[0x80] if both[0x80] != fault.last else both[0]
        both[0] = both[0x80] = fault.last = new

    fault.last = 0
    with pytest.raises(selftest.Failed, match=r"holds what belongs to another"):
        selftest.lines(board_with(fault), CONFIG, ARGS)


def test_the_speed_of_a_core_is_measured():
    """On the one that has clock cycles: the simulated board."""
    port = BoardPort(CONFIG)
    said = selftest.speed(Board(port), CONFIG, ARGS)
    port.close()
    rate, share = re.fullmatch(r"(\d+) MB/s for weights, (\d+\.\d) % of a word in every cycle",
                               said).groups()
    assert 80 < float(share) < 100
    assert float(rate) == pytest.approx(float(share) / 100 * CONFIG.word_bytes * 100, abs=1)


@pytest.mark.parametrize("counter, factor, said", [
    ("cycles", 3, "33% of a word a cycle"), ("weight_words", 2, "words came, not")])
def test_a_slow_or_wrong_stream_is_named(counter, factor, said):
    board = board_with()
    _, words = programs.stream_test(CONFIG, 4)
    read = board.read
    board.read = lambda name: factor * words if name == counter else read(name)
    with pytest.raises(selftest.Failed, match=said):
        selftest.speed(board, CONFIG, ARGS)


def test_a_bad_bit_is_found():
    def fault(memory):
        memory[2001] &= 0xbf

    board = board_with(fault)
    with pytest.raises(selftest.Failed, match="bits came back wrong in 3,000 words"):
        selftest.memory(board, CONFIG, ARGS)


def test_a_core_that_computes_wrong_is_found(monkeypatch):
    monkeypatch.setattr(programs, "successor", lambda config: (10, lambda token: 4))
    board = board_with()
    image = programs.token_loop(CONFIG)
    monkeypatch.setattr(programs, "token_loop", lambda config: image)
    monkeypatch.setattr(programs, "successor", lambda config: (10, lambda token: 5))
    with pytest.raises(selftest.Failed, match=r"tokens \[4, .*not \[5, "):
        selftest.token(board, CONFIG, ARGS)


@pytest.fixture
def terminal():
    """Name of a serial port with the golden board at its other end."""
    master, slave = os.openpty()
    tty.setraw(slave)
    golden = GoldenPort(CONFIG)

    def serve():
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                return
            golden.core.run(200)
            os.write(master, golden.link.receive(data))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield os.ttyname(slave)
    os.close(slave)
    thread.join(5)
    os.close(master)


def test_a_serial_port_works(terminal):
    port = SerialPort(terminal)
    board = Board(port)
    assert board.digest == CONFIG.digest
    data = bytes(range(256)) * 20
    board.write_memory(77, data)
    assert board.read_memory(77, len(data) // 2) == data
    with pytest.raises(TernError, match="cannot open"):
        SerialPort(terminal)        # somebody else has it
    port.close()


@pytest.mark.parametrize("others", [[], ["/dev/ttyS0"]])
def test_no_port_is_an_error(monkeypatch, others):
    monkeypatch.setattr(ports.list_ports, "comports",
                        lambda: [ListPortInfo(name) for name in others])
    said = f", only {others[0]}" if others else ""
    with pytest.raises(TernError, match="/dev/nowhere: cannot open.*there is no USB adapter"
                                        f"{said}: is the board plugged in"):
        SerialPort("/dev/nowhere")


@pytest.mark.parametrize("arguments, said", [
    (["upload", "nowhere", "--port", "sim"], "nowhere"),
    (["selftest", "--port", "/dev/nowhere"], "/dev/nowhere: cannot open"),
])
def test_a_mistake_is_one_line(arguments, said):
    done = subprocess.run([sys.executable, "-m", "firmware", *arguments], cwd=ROOT,
                          capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [[], ["upload"], ["chat"], ["selftest"]])
def test_help_shows_an_example(command):
    done = subprocess.run([sys.executable, "-m", "firmware", *command, "--help"], cwd=ROOT,
                          capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and "python -m firmware" in done.stdout
