import argparse
from dataclasses import asdict, replace
import json
import os
from pathlib import Path
import subprocess
import sys

from amaranth.back import rtlil
from amaranth.lib.wiring import In, Out
import pytest

from assembler.config import preset
from hw.core import Core
from hw.verilog import add_arguments, chosen_config, core_verilog


ROOT = Path(__file__).parents[1]


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
    (["--set", "lane=10"], "--set takes NAME=NUMBER"),
    (["--set", "lanes"], "--set takes NAME=NUMBER"),
    (["-o", "/nonexistent/core.v"], "cannot write"),
])
def test_mistakes_get_one_line(arguments, message, tmp_path):
    done = hw("verilog", "--target", "sim-tiny", "-o", tmp_path / "core.v", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_unreadable_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"lane": 3}', encoding="utf-8")
    for name in ("config.json", "missing.json"):
        done = hw("verilog", "--config", tmp_path / name, "-o", tmp_path / "core.v")
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and name in done.stderr
