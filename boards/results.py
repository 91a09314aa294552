"""Resources and clocks of a bitstream: from nextpnr's report to a page."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
import json
from pathlib import Path
import re
from typing import Any

from tern_fpga.assembler.errors import TernError


__all__ = ["COMMITTED", "BUILT", "digest_report", "read", "slack", "missed", "label", "page",
           "built", "committed"]


ROOT      = Path(__file__).resolve().parents[1]
COMMITTED = ROOT / "docs" / "reports"
BUILT     = ROOT / "build" / "bitstreams"

# Resources in the report, and nextpnr's names of them.
RESOURCES = {"LUT4": "TRELLIS_COMB", "flip-flop": "TRELLIS_FF", "block RAM": "DP16KD",
             "multiplier": "MULT18X18D", "I/O register": "IOLOGIC", "pin": "TRELLIS_IO",
             "PLL": "EHXPLLL"}

BAR, FULL, EMPTY = 40, "█", "░"         # length and characters of a bar

# Suffixes that Yosys and nextpnr add to the name of a signal.
_MADE = re.compile(r"_(?:LUT4|CCU2C|PFUMX|L6MUX21|TRELLIS_FF|TRELLIS_DPR16X4|DP16KD|MULT18X18D)_.*"
                   r"|\$nextpnr.*|\$CCU2.*|\$\d+|\[\d+\]$")


def _domain(net: str, report: dict[str, Any]) -> str:
    """The name of a clock. A single clock is ``sync``, because its net has several names and
    nextpnr reports an arbitrary one."""
    if len(report["fmax"]) == 1:
        return "sync"
    return net.removeprefix("posedge ").removeprefix("negedge ").removeprefix("$glbnet$")


def digest_report(report: dict[str, Any], asked: Sequence[int | Fraction] = ()) -> dict[str, Any]:
    """Extract clocks, resources and the critical path from nextpnr's report.

    Parameters
    ----------
    report : dict
        Contents of the file that ``--report`` wrote.
    asked : sequence of int or Fraction
        MHz of the constraints, which replace nextpnr's values: it rounds periods to picoseconds.

    Returns
    -------
    dict
        ``clocks``: name -> MHz asked, MHz reached, slack in ns. ``resources``: name -> number used
        and number available. ``critical_path``: of the clock with the least slack, a list of
        signals, each with the ns of the cells that drive it, and of the wires to the next.

    Raises
    ------
    TernError
        The report has no clock.
    """
    clocks: dict[str, dict[str, float]] = {}
    for net, each in report["fmax"].items():
        mhz = next((float(mhz) for mhz in asked if abs(mhz / each["constraint"] - 1) < 1e-3),
                   each["constraint"])
        clocks[_domain(net, report)] = {
            "asked_mhz": round(mhz, 3), "reached_mhz": round(each["achieved"], 2),
            "slack_ns": round(1000 / mhz - 1000 / each["achieved"], 3)}
    if not clocks:
        raise TernError("nextpnr reports no clock: nothing was placed")
    resources = {name: {"used": report["utilization"][cell]["used"],
                        "of": report["utilization"][cell]["available"]}
                 for name, cell in RESOURCES.items() if cell in report["utilization"]}
    worst = min(clocks, key=lambda name: clocks[name]["slack_ns"])
    path: list[dict[str, Any]] = next(
        (each["path"] for each in report["critical_paths"]
         if each["from"] == each["to"] and _domain(each["from"], report) == worst), [])
    return {"clocks": clocks, "resources": resources, "critical_path": _signals(path)}


def read(path: Path, asked: Sequence[int | Fraction] = ()) -> dict[str, Any]:
    """:func:`digest_report` of nextpnr's report ``path``; TernError if it does not exist."""
    found = _load(path)
    if found is None:
        raise TernError(f"{path}: nextpnr wrote no report")
    return digest_report(found, asked)


def _signals(path: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group the steps of nextpnr's path by signals of the source. A step without a name belongs to
    the signal before it."""
    name = ""
    steps: list[tuple[str, str, float]] = []
    for step in path:
        name = _MADE.sub("", step.get("net") or step["to"]["cell"]) or name
        steps.append((name, "routing" if step["type"] == "routing" else "logic", step["delay"]))
    return [{"at": name, **{f"{kind}_ns": round(sum(delay for *_, each, delay in found
                                                    if each == kind), 2)
                            for kind in ("logic", "routing")}}
            for name, found in ((name, list(found))
                                for name, found in groupby(steps, key=lambda step: step[0]))]


def slack(result: dict[str, Any]) -> float:
    """The smallest slack of all clocks, in ns."""
    return min(clock["slack_ns"] for clock in result["clocks"].values())


def missed(result: dict[str, Any]) -> str:
    """A text about the clocks that are slower than asked; "" if timing is met."""
    return ", ".join(f"{label(name)} reached {clock['reached_mhz']:g} MHz of "
                     f"{clock['asked_mhz']:g} MHz" for name, clock in result["clocks"].items()
                     if clock["slack_ns"] < 0)


def label(clock: str) -> str:
    """The use of a clock in a report, for readers."""
    return {"clocks.pll.clock": "core", "clocks.pll.memory": "SDRAM controller",
            "clocks.pll.shifted": "SDRAM pin"}.get(clock, clock)


def page(result: dict[str, Any]) -> str:
    """The Markdown text of a bitstream's report."""
    sdram = result["sdram"]
    lines = [f"# {result['board']}: bitstream", "",
             "<!-- Generated by `python -m boards build`; the same numbers are in the JSON. -->",
             "",
             f"{result['title']}, {result['device']}. Timing is "
             f"{'missed: ' + missed(result) if missed(result) else 'met'}.", "",
             "| clock | asked (MHz) | reached (MHz) | slack (ns) |",
             "| --- | ---: | ---: | ---: |"]
    for name, clock in result["clocks"].items():
        lines.append(f"| {label(name)} | {clock['asked_mhz']:g} | {clock['reached_mhz']:.2f} | "
                     f"{clock['slack_ns']:.2f} |")
    lines += ["", "| | used | of | | |", "| --- | ---: | ---: | ---: | --- |"]
    for name, each in result["resources"].items():
        share = each["used"] / each["of"] if each["of"] else 0
        lines.append(f"| {name} | {each['used']:,} | {each['of']:,} | {share:.0%} | "
                     f"{FULL * round(BAR * share)}{EMPTY * (BAR - round(BAR * share))} |")
    path = result["critical_path"]
    logic, routing = (sum(step[kind] for step in path) for kind in ("logic_ns", "routing_ns"))
    lines += ["", f"Critical path: {logic + routing:.2f} ns, {logic:.2f} in cells and "
              f"{routing:.2f} in wires.", "",
              "| cells (ns) | wires (ns) | signal |", "| ---: | ---: | --- |"]
    lines += [f"| {step['logic_ns']:.2f} | {step['routing_ns']:.2f} | `{step['at']}` |"
              for step in path]
    lines += ["", "| | |", "| --- | --- |",
              f"| commit | {result['commit']} |",
              f"| config | digest {result['config_digest']}: {_machine(result['config'])} |",
              f"| SDRAM | CAS latency {sdram['cas_latency']}, clock {180 + sdram['shift']:g} "
              f"degrees after the core's, capture {sdram['capture']:+d} half cycles |",
              f"| serial line | {result['baud']:,} baud |",
              f"| seed | {result['seed']}; reached by seed: " + ", ".join(
                  f"{seed}: {mhz:.2f}" for seed, mhz in result["seeds"].items()) + " MHz |",
              f"| tools | {', '.join(result['tools'])} |",
              f"| command | `{result['command']}` |",
              f"| netlist | SHA-256 {result['netlist_sha256']} |"]
    if "bitstream_sha256" in result:
        lines.append(f"| bitstream | SHA-256 {result['bitstream_sha256']} |")
    return "\n".join(lines) + "\n"


def _machine(config: dict[str, Any]) -> str:
    """The main parameters of a config."""
    names = ("lanes", "positions", "vector_lanes", "registers", "register_elements",
             "code_registers", "accumulator_rows", "prefetch_words")
    return ", ".join(f"{name} {config[name]}" for name in names)


def _load(path: Path) -> dict[str, Any] | None:
    """The report ``path``; None if it does not exist, TernError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TernError(f"{path} is damaged ({error}): build the board again") from None


def built(name: str) -> dict[str, Any] | None:
    """The report of the board's last build that met timing, or None."""
    return _load(BUILT / name / "report.json")


def committed(name: str) -> dict[str, Any] | None:
    """The committed report of the board, or None."""
    return _load(COMMITTED / f"{name}.json")
