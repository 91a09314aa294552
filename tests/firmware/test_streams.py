"""Streams that join, leave and are stopped: each says what it would say alone."""

import pytest

from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import parse_token
from tern_fpga.sim.host import conversation
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.compiled import CONFIGS, TINY_A, compiled


CONFIG = CONFIGS["wide"]        # of four positions
TOKENS = 32

# Prompts shorter and longer than a chunk, and than each other.
PROMPTS = [[3, 1, 4, 1, 5], [77], [9, 2, 6, 5, 3, 5, 8, 9, 7], [200, 13]]


def alone(ids, tokens):
    """What the golden machine says to one prompt."""
    machine = Machine(compiled(TINY_A, CONFIG))
    machine.send(conversation(CONFIG, ids, tokens))
    machine.run()
    return [token for _, _, token in map(parse_token, machine.tokens)]


class Host:
    """Sends messages at chosen times and sorts what comes by slot."""
    def __init__(self, machine):
        self.machine = machine
        self.said = {slot: [] for slot in range(CONFIG.positions)}
        self.ended = set()
        self._heard = 0

    def begin(self, slot, ids, tokens):
        self.said[slot] = []
        self.ended.discard(slot)
        self.machine.send(conversation(CONFIG, ids, tokens, slot=slot))

    def hear(self, words):
        """Listen until as many more words came, or there are no more."""
        self.machine.run(tokens=self._heard + words)
        for word in self.machine.tokens[self._heard:]:
            slot, last, token = parse_token(word)
            assert slot not in self.ended
            self.said[slot].append(token)
            if last:
                self.ended.add(slot)
        self._heard = len(self.machine.tokens)


@pytest.mark.parametrize("machine", [Machine, RtlMachine], ids=["golden", "rtl"])
def test_streams_do_not_influence_each_other(machine):
    expected = [alone(ids, TOKENS) for ids in PROMPTS]
    # One stream's own token is the stop token, which the others do not say, or say later.
    stop = next(token for n, token in enumerate(expected[2]) if n >= 8
                and token not in expected[2][:n])
    ends = [ids.index(stop) + 1 if stop in ids else TOKENS for ids in expected]
    host = Host(machine(compiled(TINY_A, CONFIG)))
    host.machine.send([message(MessageKind.STOP_TOKEN, payload=stop)])

    # They join one after the other, in no order, while others run.
    for slot, words in ((2, 3), (0, 6), (3, 1), (1, 12)):
        host.begin(slot, PROMPTS[slot], TOKENS)
        host.hear(words)
    # One is stopped; another takes its slot, with a limit of its own.
    host.machine.send([message(MessageKind.STOP, 0)])
    host.hear(8)
    cut = host.said[0]
    assert 0 < len(cut) < ends[0] and cut == expected[0][:len(cut)]
    host.begin(0, PROMPTS[1], 5)
    host.hear(10_000)
    assert host.ended == {0, 1, 2, 3}
    assert host.said[0] == expected[1][:min(5, ends[1])]
    for slot in (1, 2, 3):
        assert host.said[slot] == expected[slot][:ends[slot]]
