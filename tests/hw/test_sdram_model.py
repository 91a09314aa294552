"""The checking SDRAM model: every rule is found when broken, and only then; words are stored."""

from tests.verilog import ROOT, over_simulators, run_verilog


# A part of no maker: small, and such that each rule can be broken alone. Clock of 10 ns.
PART = dict(ROW_BITS=4, COL_BITS=5, DEPTH=1 << 10, CLOCK_PS=10_000, tCK2=12_000, tCK3=10_000,
            tRCD=30_000, tRP=20_000, tRAS=50_000, tRAS_MAX=5_000_000, tRC=90_000, tRFC=70_000,
            tRRD=20_000, tWR=20_000, tMRD=0, MRD_CLOCKS=2, tREF="64'd40_000_000",
            POWER_UP=1_000_000, INIT_REFRESHES=8, FATAL=0)

TOP = """
module top(input clk, input [2:0] command, input cke, input [1:0] ba, input [12:0] a,
           input [1:0] dqm, input [15:0] dq_o, input dq_oe, output [15:0] dq_i, output driving,
           output [31:0] violations, output [127:0] broken);
    wire [15:0] dq;
    assign dq   = dq_oe ? dq_o : 16'bz;
    assign dq_i = dq;
    tern_sdram #({parameters}) part (
        .Dq(dq), .Addr(a), .Ba(ba), .Clk(clk), .Cke(cke), .Cs_n(1'b0), .Ras_n(command[2]),
        .Cas_n(command[1]), .We_n(command[0]), .Dqm(dqm));
    assign driving    = part.driving;
    assign violations = part.violations;
    assign broken     = part.broken;
endmodule
"""


@over_simulators
def test_model(simulator):
    parameters = ", ".join(f".{name}({value})" for name, value in PART.items())
    sources = {"sdram.v": (ROOT / "sim" / "rtl" / "sdram.v").read_text(encoding="utf-8"),
               "top.v": TOP.replace("{parameters}", parameters)}
    run_verilog(sources, "top", "cocotb_sdram_model", simulator,
                power_up=PART["POWER_UP"] // PART["CLOCK_PS"], refresh_cycles=250,
                row_bits=PART["ROW_BITS"], column_bits=PART["COL_BITS"],
                undriven=simulator == "icarus")
