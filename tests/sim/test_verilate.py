"""Builds of simulators: what a machine can lack, what ends them, and what they leave."""

import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from tern_fpga.assembler.contract import isa, registers
from tern_fpga.assembler.contract.registers import Status
from tern_fpga.assembler.errors import TernError
from tern_fpga.sim.rtl import hardware, machine as rtl, verilate
from tests.sim.test_rtl import TINY, image_of


ROOT = Path(__file__).parents[2]


@pytest.fixture
def fresh():
    """The module forgets where its cache is, before the test and after it."""
    functions = verilate.cache, verilate._settings
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


def tool(folder, name, script):
    """A program of that name that runs a shell script; returns its folder."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return folder


def refused(action):
    """The one line that a user sees."""
    with pytest.raises(TernError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def checkout(monkeypatch, fresh):
    """A checkout that any user may look at, and nothing that names the user's cache folder."""
    with tempfile.TemporaryDirectory(prefix="tern-") as folder:
        root = Path(folder) / "checkout"
        (root / "sim" / "rtl").mkdir(parents=True)
        (root / "pyproject.toml").write_text("", encoding="utf-8")
        for path in (Path(folder), root):
            path.chmod(0o755)
        monkeypatch.setattr(verilate, "__file__", str(root / "sim" / "rtl" / "verilate.py"))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(root.parent / "home"))
        yield root


@contextlib.contextmanager
def unprivileged():
    """Root may write everywhere: be another user."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_checkout_keeps_its_builds(checkout, monkeypatch):
    monkeypatch.delenv("HOME")
    assert verilate.cache() == checkout / "build" and verilate.cache().is_dir()


def test_without_a_checkout_the_users_cache_folder_keeps_them(checkout, monkeypatch):
    (checkout / "pyproject.toml").unlink()
    home = checkout.parent / "home" / ".cache" / "tern"
    for given, expected in ((None, home), (str(checkout / "xdg"), checkout / "xdg" / "tern"),
                            ("relative", home)):
        verilate.cache.cache_clear()
        if given:
            monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert verilate.cache() == expected


def test_where_the_checkout_is_read_only_the_users_cache_folder_keeps_them(checkout, monkeypatch):
    checkout.chmod(0o555)
    place = checkout.parent / "xdg"
    place.mkdir()
    place.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    with unprivileged():
        assert verilate.cache() == place / "tern"


def test_tools_get_a_cache_folder_that_works(checkout, monkeypatch):
    """Amaranth's Yosys ends in a traceback without one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(checkout.parent / "xdg"))
    show = ["/bin/sh", "-c", "echo $XDG_CACHE_HOME"]
    assert verilate.run(show).strip() == str(checkout.parent / "xdg")
    verilate._settings.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert verilate.run(show).strip() == str(checkout / "build" / "tools")


@pytest.mark.parametrize("home", [None, "nowhere", "/proc/none"])
def test_where_nothing_can_be_written_one_line_says_so(checkout, monkeypatch, home):
    checkout.chmod(0o555)
    checkout.parent.chmod(0o555)
    if home is None:
        monkeypatch.delenv("HOME")      # then the user's entry counts, or there is none
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    else:
        monkeypatch.setenv("HOME", str(checkout.parent / home))
    with unprivileged():
        said = refused(verilate.cache)
    checkout.parent.chmod(0o755)
    assert str(checkout / "build") in said and "export XDG_CACHE_HOME=" in said


def test_a_full_disk_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "some").write_text("data", encoding="utf-8")
        Path("/dev/full").write_text("more", encoding="utf-8")

    assert "No space left on device" in refused(lambda: verilate.once(tmp_path / "key", build))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing, hint", [("c++", "apt-get install g++"),
                                           ("ar", "apt-get install binutils")])
def test_a_missing_tool_is_named_with_what_to_type(monkeypatch, tmp_path, missing, hint):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refused(lambda: verilate.run([missing, "--version"]))
    assert said == f"{missing} is not installed: {hint}"


def test_no_compiler_is_an_error_of_one_line(tmp_path):
    """The whole command line, with all of its imports."""
    image_of(TINY, [0]).save(tmp_path / "image")
    program = ("import sys\nfrom tern_fpga.assembler import errors\n"
               "from tern_fpga.assembler.files import image\n"
               "from tern_fpga.sim.rtl.machine import RtlMachine\n"
               "sys.exit(errors.report(lambda _: RtlMachine(image.load(sys.argv[1]))))")
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "image"], cwd=ROOT,
                          encoding="utf-8", env={**os.environ, "PATH": str(tmp_path)},
                          capture_output=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: c++ is not installed: apt-get install g++"
    assert "Traceback" not in done.stderr


def test_what_a_compiler_said_is_kept_beside_and_told_in_a_line(monkeypatch, tmp_path):
    tools = tool(tmp_path / "bin", "c++", "echo In file included from\n"
                 "echo 'x.cpp:3: fatal error: this is wrong'\nseq 10000; exit 1")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    folder = tmp_path / "cache" / "key"
    said = refused(lambda: verilate.once(folder, lambda _: verilate.run(["c++", "x.cpp"])))
    log = folder.with_name("key.log")
    assert said == ("c++ failed with status 1: x.cpp:3: fatal error: this is wrong; all that it "
                    f"said is in {log}")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 10_002
    assert [path.name for path in folder.parent.iterdir()] == ["key.log"]
    verilate.once(folder, lambda _: None)
    assert [path.name for path in folder.parent.iterdir()] == ["key"]


def test_a_killed_compiler_is_named(monkeypatch, tmp_path):
    tools = tool(tmp_path / "bin", "c++", "kill -KILL $$")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert "c++ was killed by signal 9" in refused(lambda: verilate.run(["c++"]))


def test_absent_headers_of_fst_are_named(monkeypatch, tmp_path):
    tools = tool(tmp_path / "bin", "c++", "echo 'lz4.h: No such file or directory'; exit 1")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert "apt-get install liblz4-dev zlib1g-dev" in refused(verilate.check_fst)


def test_hardware_that_cannot_be_written_is_an_error_of_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(verilate, "cache", lambda: tmp_path)
    said = refused(lambda: hardware.verilog(TINY, "no-such"))
    assert said.startswith("python -m hw no-such failed with status 2: ") and ".log" in said


# A build that lasts: its compiler has a child, as compilers do.
SLOW = """
import signal, sys
from pathlib import Path
from tern_fpga.sim.rtl import verilate
for number in (signal.SIGHUP, signal.SIGTERM):      # whatever we were started with
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
def build(folder):
    (folder / "half").write_text("")
    verilate.run(["c++"])
verilate.once(Path(sys.argv[1]), build)
"""


def slow_build(tmp_path, name="key"):
    """A process that builds, the numbers of its compiler's processes, and its cache folder."""
    pids, cache = tmp_path / f"{name}.pids", tmp_path / "cache"
    tools = tool(tmp_path / f"bin-{name}", "c++", f"sleep 600 & echo $$ $! > {pids}.part\n"
                 f"mv {pids}.part {pids}; wait; sleep 600")
    process = subprocess.Popen([sys.executable, "-c", SLOW, cache / name], cwd=ROOT,
                               env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
                               stderr=subprocess.DEVNULL)
    wait_for(pids.exists)
    return process, list(map(int, pids.read_text(encoding="utf-8").split())), cache


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid):
    """Whether a process runs; one that only waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        return state not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_the_compilers_too(tmp_path, number):
    process, pids, cache = slow_build(tmp_path)
    assert all(map(alive, pids))
    process.send_signal(number)
    try:
        assert process.wait(60) == -number      # as whoever sent it expects
    finally:
        process.kill()
    wait_for(lambda: not any(map(alive, pids)))
    left = [path.name for path in cache.iterdir()]
    if number != signal.SIGKILL:
        assert left == []
        return
    assert len(left) == 2 and ".key.lock" in left
    verilate.once(cache / "other", lambda folder: None)         # the next build of anything
    assert [path.name for path in cache.iterdir()] == ["other"]


def test_a_build_under_way_is_not_taken_for_what_was_left(tmp_path):
    process, _, cache = slow_build(tmp_path)
    try:
        before = sorted(cache.iterdir())
        verilate.once(cache / "other", lambda folder: None)
        assert sorted(cache.iterdir()) == sorted([*before, cache / "other"])
    finally:
        process.terminate()
        process.wait()


def test_where_hang_ups_are_ignored_they_stay_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)       # nohup
    try:
        verilate.once(tmp_path / "key", lambda folder: os.kill(os.getpid(), signal.SIGHUP))
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_built_is_said(tmp_path, capsys, monkeypatch, terminal):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    verilate.once(tmp_path / "key", lambda folder: None, "Building it")
    said = capsys.readouterr()
    assert said.out == "" and "Building it" in said.err
    assert terminal or said.err == "Building it ...\n"
    verilate.once(tmp_path / "key", lambda folder: None, "Building it")
    assert capsys.readouterr().err == ""


def test_addresses_come_from_the_table(monkeypatch):
    """The harness looks for the status where the table has it: elsewhere it finds another value."""
    machine = rtl.RtlMachine(image_of(TINY, [0x3f << isa.OPCODE.lo]))
    assert machine.run() == "fault"
    table = rtl.register
    monkeypatch.setattr(rtl, "register",
                        lambda name: table("version" if name == "status" else name))
    assert registers.VERSION == Status.RUNNING
    with pytest.raises(rtl.Hang):
        machine.run(idle=1000)
