"""A small campaign of bits that go bad, and that it would see one that is not reported."""

import zlib

import pytest

from tests.campaigns.flips import GENERATOR, KINDS, UNSEEN, Campaign, Flip, Outcome


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
    used = Flip({section.address + section.size // campaign.config.word_bytes - 1: 1 << 3})
    assert campaign.run(used) == Outcome(None, False)


@pytest.mark.parametrize("number", (0, 3))
@pytest.mark.parametrize("kind", list(KINDS)[1:])
def test_several_bad_bits_are_reported(campaign, kind, number):
    flip = campaign.flip(number, kind)
    outcome = campaign.run(flip)
    assert outcome.reported == 1 if flip.late is None else outcome.reported in (2, 3), flip


@pytest.mark.parametrize("build", UNSEEN)
def test_what_the_checksum_cannot_see(campaign, build):
    """By its construction: docs/decisions/weight-checksum.md."""
    flip = build(campaign)
    assert campaign.run(flip).reported is None
    # With one bit less it is seen, unless none of it is in a stream.
    first, last = campaign.stream("body")[0], sum(campaign.stream("head"))
    inside = [address for address in flip.words if first <= address < last]
    if inside:
        part = dict(flip.words)
        part[inside[-1]] &= part[inside[-1]] - 1
        assert campaign.run(Flip(part)).reported == 1


def test_two_wrong_bits_of_a_stream_are_always_seen():
    """x is of order 2**32 - 1 modulo the generator: no two bits cancel in less than 512 MB."""
    def times(a, b):
        product = 0
        for bit in range(32):
            if b >> bit & 1:
                product ^= a << bit
        for bit in range(63, 31, -1):
            if product >> bit & 1:
                product ^= GENERATOR << bit - 32
        return product

    def power(exponent):
        result, square = 1, 2
        while exponent:
            if exponent & 1:
                result = times(result, square)
            square, exponent = times(square, square), exponent >> 1
        return result

    order = 2 ** 32 - 1
    assert power(order) == 1
    assert order == 3 * 5 * 17 * 257 * 65537
    assert all(power(order // prime) != 1 for prime in (3, 5, 17, 257, 65537))
    # And GENERATOR is that of the checksum: 33 bits of it, first bit first, change nothing.
    reflected = int(f"{GENERATOR:b}"[::-1], 2).to_bytes(5, "little")
    assert zlib.crc32(bytes(5)) == zlib.crc32(reflected)
