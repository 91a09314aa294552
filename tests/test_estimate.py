"""The compiler's estimate against the RTL: three per cent, from one stream to all positions."""

import pytest

from assembler.estimate import Memory, estimate, memory_of
from sim import host
from sim.rtl import RtlMachine
from tests.compiled import CONFIGS, TINY_A, compiled


WARM_UP, TOKENS = 2, 4


def measured(image, live, **options):
    """Mean cycles of a step of ``live`` streams in steady state."""
    machine = RtlMachine(image, **options)
    for slot in range(live):
        machine.send(host.conversation(image.config, [1 + slot], WARM_UP + TOKENS, slot=slot))
    machine.run(tokens=WARM_UP * live)
    start = machine.total_cycles
    machine.run(tokens=(WARM_UP + TOKENS) * live)
    return (machine.total_cycles - start) / TOKENS


@pytest.mark.parametrize("live", ["one stream", "all positions"])
@pytest.mark.parametrize("name", CONFIGS)
def test_estimate_is_within_three_per_cent_of_the_rtl(name, live):
    image = compiled(TINY_A, CONFIGS[name])
    streams = 1 if live == "one stream" else image.config.positions
    assert estimate(image, live=streams)[0] == pytest.approx(measured(image, streams), rel=0.03)


def test_refreshes_take_their_share():
    # 8 refreshes in 8 of 781 cycles: tRP, 8 tRFC, tRCD and 5 more.
    assert memory_of("ulx3s-85f").share == pytest.approx(1 - (3 + 8 * 7 + 3 + 5) / (8 * 781))
    assert memory_of("orangecrab-85f") == Memory(share=1)


def test_slower_memory_means_more_cycles():
    image = compiled(TINY_A, CONFIGS["narrow"])
    whole, words = estimate(image)
    half, same = estimate(image, memory=Memory(share=0.5))
    assert same == words
    assert half > 1.7 * whole > 1.7 * words
