"""What a host concludes from the checksum of the weight stream."""

import random
import zlib

import pytest

from tern_fpga.assembler.contract.checksum import SUMS, WeightCheck, entry
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files.image import Image
from tests.compiled import CONFIGS, TINY_A, compiled


KINDS = {"different": (3, 2), "equal": (3, 3), "one kind": (3,)}


class Core:
    """Sums streams as the core does."""
    def __init__(self):
        self.sums = dict.fromkeys(SUMS, 0)

    def stream(self, data):
        more = (1, len(data) // 2, zlib.crc32(data))
        self.sums = {name: (self.sums[name] + one) % (1 << 32)
                     for name, one in zip(SUMS, more)}


def check_of(streams):
    return WeightCheck([entry(f"stream {n}", len(data) // 2, data)
                        for n, data in enumerate(streams)])


@pytest.mark.parametrize("sizes", KINDS.values(), ids=KINDS)
def test_any_order_agrees_and_any_flip_does_not(sizes):
    draw = random.Random(1)
    streams = [draw.randbytes(2 * size) for size in sizes]
    core, check = Core(), check_of(streams)
    core.sums = dict(zip(SUMS, (0xfffffff0, 0xfffffff0, 0xfffffff0)))   # they wrap
    check._before = core.sums
    for _ in range(30):
        for _ in range(draw.randrange(4)):
            core.stream(draw.choice(streams))
        assert check.agrees(core.sums)
    for data in streams:
        for bit in range(8 * len(data)):
            bad, check = Core(), check_of(streams)
            for stream in (*streams, data):
                bad.stream(stream)
            wrong = int.from_bytes(data, "little") ^ 1 << bit
            bad.stream(wrong.to_bytes(len(data), "little"))
            assert not check.agrees(bad.sums)
            assert not check.agrees(bad.sums)           # until it was started anew
            check.restart()
            assert check.agrees(dict.fromkeys(SUMS, 0))


def test_a_stream_that_is_not_the_images_is_seen():
    check = check_of([bytes(6), bytes(4)])
    core = Core()
    core.stream(bytes(8))
    assert not check.agrees(core.sums)
    assert not check.agrees(dict.fromkeys(SUMS, 0xffffffff))        # the board was reset


def test_a_program_that_says_nothing_is_not_checked():
    check = WeightCheck()
    assert not check.active and check.agrees(dict(zip(SUMS, (1, 2, 3))))


@pytest.mark.parametrize("entries", [
    [], 3, [3], [{}], [{"words": 1}], [{"words": "1", "crc32": "00000000"}],
    [{"words": 0, "crc32": "00000000"}], [{"words": 1, "crc32": "xyz"}],
    [{"words": 1, "crc32": "100000000"}], [{"words": 1, "crc32": "-1"}],
    [{"words": 1, "crc32": 7}], 3 * [{"words": 1, "crc32": "00000000"}]])
def test_a_manifest_that_says_something_else_is_refused(entries):
    image = Image(CONFIGS["narrow"], [], 0, 0, {"weight_streams": entries})
    with pytest.raises(TernError, match="manifest.json: .*compile the model again"):
        image.weight_check()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_compiler_tells_the_streams_of_the_program(config):
    image = compiled(TINY_A, config)
    data = bytes(image.section("weights").data)
    size = image.manifest["weight_streams"][0]["words"] * config.word_bytes
    assert image.manifest["weight_streams"] == [
        entry("body", size // config.word_bytes, data[:size]),
        entry("head", (len(data) - size) // config.word_bytes, data[size:])]
    assert 0 < size < len(data)
