"""The installs of the Makefile, with an environment whose Python only tells what it is asked."""

import os
from pathlib import Path
import shutil
import subprocess
import time

import pytest


ROOT = Path(__file__).parents[2]

PYTHON = """#!/bin/sh
case "$1 $2" in
"-c import pip") [ ! -e @LOG@.no-pip ];;
"-m ensurepip") rm -f @LOG@.no-pip;;
"-m pip")
    [ ! -e @LOG@.no-pip ] || exit 1
    echo "begin $*" >> @LOG@; sleep ${SLOW:-0.2}; echo "end $*" >> @LOG@
    case "$*" in *$BROKEN*) exit 1;; esac;;
esac
"""


class Project:
    """A folder with the Makefile and such an environment."""
    def __init__(self, folder):
        self.folder, self.log = folder, folder / "log"
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        for venv in (".venv", ".venv-models"):
            (folder / venv / "bin").mkdir(parents=True)
            for tool in ("python", "ruff", "mypy"):
                path = folder / venv / "bin" / tool
                path.write_text(PYTHON.replace("@LOG@", str(self.log)), encoding="utf-8")
                path.chmod(0o755)
        self.log.touch()

    def make(self, *words, start=subprocess.run, **environment):
        environment = {"BROKEN": "no such word", **os.environ, **environment}
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):   # of the make that runs the tests
            environment.pop(name, None)
        return start(["make", *words], cwd=self.folder, env=environment, encoding="utf-8",
                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    @property
    def installs(self):
        """What pip was asked, in order; no two at a time."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        begun, ended = lines[::2], lines[1::2]
        assert [line.removeprefix("begin ") for line in begun] \
            == [line.removeprefix("end ") for line in ended], lines
        return [line.split("check ")[1] for line in begun]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_targets_side_by_side_install_one_after_another(project):
    done = project.make("-j4", "demo", "lint", "bitstreams", "roofline", "BITSTREAMS=")
    assert done.returncode == 0, done.stdout
    assert "-e .[test,boards,plots]" in project.installs       # which another may do without
    assert not (project.folder / ".venv" / ".lock").is_symlink()


def test_two_calls_of_make_install_one_after_another(project):
    calls = [project.make(target, start=subprocess.Popen, SLOW="1") for target in ("demo", "lint")]
    for call in calls:
        call.communicate()
        assert call.returncode == 0
    assert project.installs in (["-e .", "-e .[test,boards,plots]"], ["-e .[test,boards,plots]"])


def test_what_is_up_to_date_is_not_installed_again(project):
    assert project.make("lint").returncode == 0
    for target in ("lint", "demo", "bitstreams"):
        assert project.make(target, "BITSTREAMS=").returncode == 0
    assert project.installs == ["-e .[test,boards,plots]"]
    os.utime(project.folder / "pyproject.toml", (time.time() + 5, time.time() + 5))
    assert project.make("demo").returncode == 0
    assert project.installs == ["-e .[test,boards,plots]", "-e ."]


def test_demo_says_what_is_installed_and_how_long_that_takes(project):
    out = project.make("demo").stdout
    assert "Verilator" in out and "minute" in out and ".venv" in out


def test_install_that_fails_ends_make_and_leaves_no_lock(project):
    assert project.make("demo", BROKEN="-e .").returncode
    assert not (project.folder / ".venv" / ".installed-base").exists()
    assert project.make("demo").returncode == 0


def test_an_environment_without_pip_gets_it(project):
    """As it is while another make, or one that was killed, has only begun it."""
    missing = Path(f"{project.log}.no-pip")
    missing.touch()
    assert project.make("demo").returncode == 0
    assert project.installs == ["-e ."] and not missing.exists()
    assert "-m venv --without-pip" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_waiting_for_another_process_is_said(project):
    (project.folder / ".venv" / ".lock").symlink_to(str(os.getpid()))
    call = project.make("demo", start=subprocess.Popen)
    try:
        assert str(os.getpid()) in call.stdout.readline()
        (project.folder / ".venv" / ".lock").unlink()
    finally:
        out, _ = call.communicate(timeout=30)
    assert call.returncode == 0 and "Installing" in out and project.installs == ["-e ."]


def test_lock_of_a_killed_make_is_taken(project):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (project.folder / ".venv" / ".lock").symlink_to(str(gone.pid))
    assert project.make("demo").returncode == 0 and len(project.installs) == 1


def test_training_has_its_own_environment(project):
    project.make("test-models")
    assert project.installs[0].startswith("torch==") and project.installs[1:] \
        == ["-e .[models,test]"]
