import argparse
from dataclasses import asdict, replace
import gc
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import threading

from amaranth.back import rtlil
from amaranth.lib.wiring import In, Out
import pytest

from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import report
from tern_fpga.hw.cli import main
from tern_fpga.hw.core import Core
from tern_fpga.hw.tools.verilog import add_arguments, chosen_config, core_verilog


ROOT = Path(__file__).parents[2]


def hw(*arguments, **environment):
    return subprocess.run([sys.executable, "-m", "hw", *map(str, arguments)], cwd=ROOT,
                          encoding="utf-8", capture_output=True,
                          env={**os.environ, **environment})


def test_verilog_does_not_depend_on_the_hash_seed(tmp_path):
    for seed in (0, 1):
        done = hw("verilog", "--target", "sim-tiny", "-o", tmp_path / f"{seed}.v",
                  PYTHONHASHSEED=str(seed))
        assert done.returncode == 0, done.stderr
    text = (tmp_path / "0.v").read_text(encoding="utf-8")
    assert text == (tmp_path / "1.v").read_text("utf-8") == core_verilog(preset("sim-tiny"))
    assert "module core(" in text


def test_config_file_and_set_choose_the_machine(tmp_path):
    config = replace(preset("sim-tiny"), positions=2)
    (tmp_path / "config.json").write_text(json.dumps(asdict(config)), encoding="utf-8")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = ["--set", "registers=64", "--set", "lanes=20", "-o", "core.v"]
    for machine, expected in ((["--config", str(tmp_path / "config.json")], config),
                              (["--target", "ulx3s-85f"], preset("ulx3s-85f"))):
        assert chosen_config(parser.parse_args(machine + arguments)) == replace(
            expected, registers=64, lanes=20)


@pytest.mark.parametrize("target", ["ulx3s-85f", "orangecrab-85f"])
def test_presets_elaborate_with_the_ports_of_the_architecture(target):
    core = Core(config=preset(target))
    assert {name: member.flow for name, member in core.signature.members.items()} == {
        "memory": Out, "request": In, "response": Out, "messages": In, "tokens": Out,
        "logits": Out, "stopped": Out, "status": Out, "host": In}
    assert "module \\core\n" in rtlil.convert(core, name="core", emit_src=False)


@pytest.mark.parametrize("arguments, message", [
    (["--set", "lanes=7"], "lanes must be"),
    (["--set", "lane=10"], "no parameter 'lane'"),
    (["--set", "lanes"], "is not NAME=NUMBER"),
    (["--set", "lanes=--5"], "'--5' is no whole number"),
    (["--set", "lanes=\u00b2"], "is no whole number"),
    (["-o", "/"], "cannot write"),
    (["-o", "/nonexistent/core.v"], "cannot write"),
])
def test_mistakes_get_one_line(arguments, message, tmp_path):
    done = hw("verilog", "--target", "sim-tiny", "-o", tmp_path / "core.v", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [
    "sdram --target ulx3s-85f --clock-mhz 0", "sdram --target ulx3s-85f --clock-mhz 0.01",
    "sdram --target ulx3s-85f --power-up-us inf", "sdram --target ulx3s-85f --power-up-us -5",
    "sdram --target ulx3s-85f --capture 9999999999", "sdram --target ulx3s-85f --sdram-bits 0",
    "soc --target sim-tiny --baud 0", "soc --target sim-tiny --name \u00e9"])
def test_hardware_that_cannot_be_made_gets_one_line(command, tmp_path, capsys):
    """Also where half of it was made: Amaranth would warn of that, and warnings are errors here."""
    assert report(main, [*command.split(), "-o", str(tmp_path / "out.v")]) == 2
    assert not list(tmp_path.iterdir())
    assert re.fullmatch("error: .*\n", capsys.readouterr().err)
    gc.collect()


def test_a_pipe_is_written_and_not_replaced(tmp_path):
    """Nor is a device, which `-o /dev/stdout` names."""
    pipe, came = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: came.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert hw("verilog", "--target", "sim-tiny", "-o", pipe).returncode == 0
    assert pipe.is_fifo()
    reader.join(10)
    assert came == [core_verilog(preset("sim-tiny")).encode()]


def test_unreadable_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"lane": 3}', encoding="utf-8")
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    for name in ("config.json", "deep.json", "missing.json"):
        done = hw("verilog", "--config", tmp_path / name, "-o", tmp_path / "core.v")
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and name in done.stderr
