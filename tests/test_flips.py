"""A small campaign of bit flips, and that it would see one that nobody reports."""

import pytest

from tests.flips import Campaign, Flip, Outcome


@pytest.fixture(scope="module")
def campaign():
    return Campaign(16)


@pytest.mark.parametrize("number", range(20))
def test_a_flipped_weight_is_reported(campaign, number):
    flip = campaign.flip(number)
    outcome = campaign.run(flip)
    assert outcome.reported == 1 if flip.late is None else outcome.reported in (2, 3), flip


def test_a_machine_that_is_right_is_left_alone(campaign):
    assert campaign.run() == Outcome(None, False)


def test_a_flip_that_no_stream_reads_is_not_reported(campaign):
    """Of an embedding that is not asked for."""
    section = campaign.image.section("embedding")
    used = Flip(section.address + section.size // campaign.config.word_bytes - 1, 3)
    assert campaign.run(used) == Outcome(None, False)
