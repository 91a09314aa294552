"""Faults of the board layer that have names: an engineer put most of them in by hand, and what was
`make test` then found one."""

from tests.campaigns.board_faults.sites import ROOT, Fault


__all__ = ["NAMED"]


_PART  = '"part": ANY_PART'
_PARTS = ('__import__("tern_fpga.assembler.contract.sdram_parts")'
          ".assembler.contract.sdram_parts.PARTS")

# What is wrong: file, text there, text instead.
_TABLE = {
    "capture without its constant":
        ("boards/top.py", "board.capture + CAPTURE", "board.capture"),
    "the pins' registers count once":
        ("boards/pins.py", "CAPTURE = 4 ", "CAPTURE = 2 "),
    "UART looped back to the core":
        ("boards/top.py", "soc.rx.eq(serial.rx)", "soc.rx.eq(soc.tx)"),
    "UART looped back to the host":
        ("boards/top.py", "serial.tx.eq(soc.tx)", "serial.tx.eq(serial.rx)"),
    "baud halved":
        ("boards/top.py", "baud=board.baud", "baud=board.baud // 2"),
    "UART at the memory's clock":
        ("boards/top.py", "soc = Soc(config=config, clock_hz=board.clock * 1_000_000",
         "soc = Soc(config=config, clock_hz=int(board.memory_clock * 1_000_000)"),
    "controller at the core's clock":
        ("boards/top.py", '"clock_mhz": float(board.memory_clock)',
         '"clock_mhz": float(board.clock)'),
    "SDRAM clock not inverted":
        ("boards/pins.py", "clk.o[0].eq(0), clk.o[1].eq(1)", "clk.o[0].eq(1), clk.o[1].eq(0)"),
    "SDRAM clock from the memory's":
        ("boards/pins.py", 'o_domain="part"', 'o_domain="memory"'),
    "PLL shift of the wrong sign":
        ("boards/clocks.py", "shift=self.shift", "shift=-self.shift"),
    "PLL output off by one":
        ("boards/pll.py", "p_CLKOS_DIV=by_clock,", "p_CLKOS_DIV=by_clock + 1,"),
    "PLL feedback off by one":
        ("boards/pll.py", "p_CLKOP_DIV=by.feedback,", "p_CLKOP_DIV=by.feedback - 1,"),
    "no domain is reset":
        ("boards/clocks.py", "ResetSignal(name).eq(release.reset),", ""),
    "the memory's domain is never reset":
        ("boards/clocks.py", "ResetSignal(name).eq(release.reset)",
         'ResetSignal(name).eq(release.reset & (name == "sync"))'),
    "ESP32 pin low":
        ("boards/top.py", "buffer.o.eq(1)", "buffer.o.eq(0)"),
    "ESP32 pin of no board":
        ("boards/parts.py", 'high=(("esp32", "gpio0"),),', ""),
    "fault light unconnected":
        ("boards/top.py", "lights.fault.eq(has(Status.FAULT)),", ""),
    "two lights exchanged":
        ("boards/parts.py", '"heartbeat", "ready", "link"', '"heartbeat", "link", "ready"'),
    "a light that is never dimmed off":
        ("boards/lights.py", "levels[name] & dim", "levels[name] | dim"),
    **{f"timings of {part} alone":
       ("boards/top.py", _PART, f'"part": {_PARTS}["{part}"]')
       for part in ("AS4C32M16SB-7", "W9825G6KH-6", "IS42S16160G-7", "MT48LC16M16A2-75")},
    "the fastest time of all parts":
        ("boards/top.py", _PART, '"part": __import__("dataclasses").replace(ANY_PART, t_ac={cas: '
         f'min(part.t_ac[cas] for part in {_PARTS}.values()) for cas in ANY_PART.t_ac}})'),
    "CAS latency of 2":
        ("boards/top.py", "CAS_LATENCY = 3 ", "CAS_LATENCY = 2 "),
    "constraint of a net that is not there":
        ("boards/flow.py", '"CLKOS2": "clocks.pll.shifted"', '"CLKOS2": "clocks.pll.shift"'),
    "constraints exchanged":
        ("boards/flow.py", '"CLKOS2": "clocks.pll.shifted",\n          "CLKOS3": '
         '"clocks.pll.memory"', '"CLKOS2": "clocks.pll.memory",\n          "CLKOS3": '
         '"clocks.pll.shifted"'),
    "clocks keep the names that Yosys gave":
        ("boards/flow.py", '    name_clocks(folder / f"{TOP}.json")\n', ""),
    "constraints that bind nothing are taken":
        ("boards/flow.py", "    check_constraints(folder)\n", ""),
    "a clock of the PLL without a constraint":
        ("boards/clocks.py", "(pll.clock, self.clock_hz), ", ""),
    "the memory's clock without a constraint":
        ("boards/clocks.py", "constraints.append((pll.memory, self.memory_hz))", "pass"),
}


def _fault(what, file, old, new):
    text = (ROOT / file).read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise LookupError(f"{what}: {file} has {old!r} {text.count(old)} times: it must be written "
                          f"again")
    start  = text.index(old)
    before, after = (" ".join(each.split()) for each in (old, new))
    return Fault(file, text.count("\n", 0, start) + 1, "named", before, after, start,
                 start + len(old), new)


NAMED = {what: _fault(what, *rest) for what, rest in _TABLE.items()}
