"""``python -m sim positions``: what it measures, and what it refuses."""

from tern_fpga.assembler.errors import report
from tern_fpga.sim.cli import main
from tern_fpga.sim.commands import positions
from tests.compiled import CONFIGS, TINY_A, compiled


def test_positions_share_a_pass_over_the_weights():
    rates = positions.measure(compiled(TINY_A, CONFIGS["wide"]), tokens=2, chunks=2)
    assert (rates.positions, rates.prompt_tokens) == (4, 8)
    # A small model: its matrices are so short that the drain of four positions shows.
    assert 2 < rates.streams_gain < 4
    assert 2 < rates.prefill_gain < 5


def test_image_of_no_board_is_refused(tmp_path, capsys):
    compiled(TINY_A, CONFIGS["wide"]).save(tmp_path / "image")
    assert report(main, ["positions", str(tmp_path / "image")]) == 2
    assert "made for no known board" in capsys.readouterr().err
