# amaranth: UnusedElaboratable=no
"""The host link: the table, its codec, and the board's side ``rtl == golden``."""

import pytest

from assembler import link
from assembler.config import Config
from hw.link import HostLink
from tests.board import run_on_board
from tests.verilog import over_simulators


CONFIGS = {
    "narrow": Config(memory_bits=16, lanes=10, memory_bytes=1 << 12),
    "wide":   Config(memory_bits=128, lanes=80, memory_bytes=1 << 12),
}


@over_simulators
@pytest.mark.parametrize("name", CONFIGS)
def test_board_answers_like_its_twin(name, simulator):
    config = CONFIGS[name]
    identity = {"clock_hz": 100_000_000, "name": f"bench {name}"}
    run_on_board(HostLink(config=config, **identity), config, "cocotb_link", simulator,
                 port="memory", depth=config.memory_words, **identity)


@pytest.mark.parametrize("name", ["x" * 25, "ü"])
def test_bad_name_is_refused(name):
    with pytest.raises(ValueError, match="at most 24 characters of ASCII"):
        HostLink(config=Config(), clock_hz=1, name=name)
