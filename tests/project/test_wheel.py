"""What is installed from a wheel, beside packages that have the names of our folders."""

import os
from pathlib import Path
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.verilog import ROOT


CLASHES = ("assembler", "boards", "firmware", "hw", "models", "sim", "tests")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names  = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT,
                            check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
    for name in filter(None, names):        # a copy: the build leaves folders in its source
        if os.path.lexists(ROOT / name):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index",
                    "--no-build-isolation", "-w", folder, source], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs Python in an empty folder, with the wheel and the clashing packages."""
    place = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(place / "packages")
    for name in CLASHES:
        (place / "clashes" / name).mkdir(parents=True)
        (place / "clashes" / name / "__init__.py").write_text(
            f"raise ImportError('{name} of somebody else')", encoding="utf-8")
    (place / "empty").mkdir()

    def run(*words, **environment):
        return subprocess.run([sys.executable, *words], cwd=place / "empty", encoding="utf-8",
                              capture_output=True, env={
            **os.environ, "HOME": str(place), "XDG_CACHE_HOME": str(place / "cache"),
            "PYTHONPATH": os.pathsep.join([str(place / "clashes"), str(place / "packages")]),
            **environment})
    return run


def test_a_wheel_holds_one_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} \
        == {"tern_fpga"}
    for name in ("py.typed", "sim/rtl/harness.cpp", "sim/rtl/sdram.v", "firmware/memory.tasm",
                 "hw/memory/sdr/sdram.py", *(f"models/stories-5m/{each}" for each in (
                     "config.json", "model.safetensors", "tokenizer.json"))):
        assert f"tern_fpga/{name}" in names
    assert not any("stories-30m" in name for name in names)


def test_the_package_is_the_wheel_s(installed):
    done = installed("-c", "import tern_fpga, tern_fpga.interface; print(tern_fpga.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parents[1].name == "packages"


@pytest.mark.parametrize("words", [
    [], ["compile", "--help"], ["generate", "--help"], ["perf", "--help"], ["boards", "list"],
    ["upload", "--help"], ["chat", "--help"], ["hw", "verilog", "--help"]])
def test_commands_run_beside_packages_of_the_same_names(installed, words):
    done = installed("-m", "tern_fpga", *words)
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr
    if words:           # commands that can be typed without a checkout
        assert "python -m" not in done.stdout


@pytest.mark.parametrize("words, hint", [
    (["generate", "nowhere", "--ids", "1"], "make it with `tern-fpga compile MODEL -o nowhere`"),
    (["boards", "report", "icepi-zero"], "first tern-fpga boards build icepi-zero"),
    (["counters", "--port", "sim"], "`tern-fpga perf"),
])
def test_hints_are_commands_of_this_installation(installed, words, hint):
    done = installed("-m", "tern_fpga", *words)
    assert done.returncode == 2 and hint in done.stderr


def test_the_demo_runs_in_an_empty_folder_without_a_compiler(installed, tmp_path):
    done = installed("-m", "tern_fpga", "demo", "--tokens", "6", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Once upon a time" in done.stdout and "no C++ compiler" in done.stdout


def test_hardware_is_written_from_a_wheel(installed, tmp_path):
    done = installed("-c", f"""
from dataclasses import asdict
from pathlib import Path
from tern_fpga import Config
from tern_fpga.sim.rtl import hardware, verilate
verilate.cache = lambda: Path({str(tmp_path)!r})
print(hardware.verilog(Config(memory_bytes=1 << 16, lanes=10, positions=1, vector_lanes=1)))
""")
    assert done.returncode == 0, done.stderr
    assert "module core(" in done.stdout
