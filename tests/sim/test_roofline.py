"""Points under their ceilings, from files of measurements."""

import json

import pytest

from tern_fpga.assembler.errors import report
from tern_fpga.sim.cli import main
from tern_fpga.sim.commands import roofline


# A stream that uses 98 % of 200 MB/s with trits alone, and eight that use 90 %.
RESULT = {"model": "m", "target": "ulx3s-85f", "lanes": 20, "positions": 8, "memory": "part",
          "streams": 1, "cycles": 1e6 / 1.96, "bytes_read": 1e6, "bytes_written": 0, "adds": 5e6,
          "clock_mhz": 100, "peak_bytes": 2e8, "tokens_per_second": 1.0}
STREAMS = RESULT | {"streams": 8, "adds": 4e7, "cycles": 1e6 / 1.8}


def files(folder, *results):
    for n, result in enumerate(results):
        (folder / f"{n}.json").write_text(json.dumps(result), encoding="utf-8")
    return [str(folder / f"{n}.json") for n in range(len(results))]


def test_points_lie_under_their_ceilings(tmp_path):
    one, many = roofline.read(files(tmp_path, RESULT, [STREAMS]))
    assert (one.intensity, many.intensity) == (5, 40)
    assert one.rate / one.memory == pytest.approx(0.98) and one.array == 2e9
    assert many.rate / many.memory == pytest.approx(0.9) and many.array == 16e9
    assert many.rate == pytest.approx(7.2e9)


def test_report_is_the_same_each_time(tmp_path, capsys):
    page = tmp_path / "roofline.md"
    assert report(main, ["roofline", *files(tmp_path, RESULT, STREAMS), "--report", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "| ulx3s-85f | m | 8 | 40.00 | 7.20 G | 90.0% | 45.0% |" in shown
    assert shown.strip() in page.read_text("utf-8") and "(roofline.svg)" in page.read_text("utf-8")
    first = [(tmp_path / f"roofline.{end}").read_bytes() for end in ("svg", "json", "md")]
    assert b"<svg" in first[0]
    again = [str(tmp_path / "roofline.json"), "--report", str(page)]    # from its own numbers
    assert report(main, ["roofline", *again]) == 0
    assert [(tmp_path / f"roofline.{end}").read_bytes() for end in ("svg", "json", "md")] == first


def test_other_files_are_refused(tmp_path, capsys):
    paths = files(tmp_path, {"model": "m"}, [], 3)
    for path in (*paths, str(tmp_path / "nothing.json")):
        assert report(main, ["roofline", path]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert report(main, ["roofline", *files(tmp_path, RESULT), "--report",
                         str(tmp_path / "no" / "x.md")]) == 2
