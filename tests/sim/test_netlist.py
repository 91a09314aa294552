"""What surrounds the netlist's simulation, and the cell models on their own."""

import subprocess

from tern_fpga.sim.commands import netlist
from tern_fpga.sim.rtl.machine import _SOURCES
from tests.verilog import icarus


def test_cells_are_counted():
    text = """module core(clk);
  LUT4 #(
    .INIT(16'h8000)
  ) a_LUT4_Z (
    .A(1'h0)
  );
  LUT4 #(
    .INIT(16'h8000)
  ) \\b.c_LUT4_Z  (
  );
  PFUMX d_PFUMX_Z (
  );
  wire PFUMX_Z;
endmodule
"""
    assert netlist.cells(text) == {"LUT4": 2, "PFUMX": 1}


def bits(name, vector, width):
    """Port connections of single bits."""
    return ", ".join(f".{name}{k}({vector}[{k}])" for k in range(width))


BENCH = f"""
module test;
    reg clk = 0, we = 0;
    reg [13:0] wa = 0, ra = 0, pa = 0;
    reg [35:0] data = 0;
    wire [17:0] narrow, low, high, later;
    // Words of 36 are written; one copy reads bytes, the other words of 36.
    DP16KD #(.DATA_WIDTH_A(36), .DATA_WIDTH_B(9)) bytes (
        .CLKA(clk), .CEA(we), .WEA(1'b1), .CLKB(clk), .CEB(1'b1), .WEB(1'b0), .RSTB(1'b0),
        .RSTA(1'b0), {bits("ADA", "wa", 14)}, {bits("ADB", "ra", 14)},
        {", ".join(f".DIA{k}(data[{k}])" for k in range(18))},
        {", ".join(f".DIB{k}(data[{k + 18}])" for k in range(18))},
        {bits("DOB", "narrow", 18)});
    DP16KD #(.DATA_WIDTH_A(36), .DATA_WIDTH_B(36)) words (
        .CLKA(clk), .CEA(we), .WEA(1'b1), .CLKB(clk), .CEB(1'b1), .WEB(1'b0), .RSTB(1'b0),
        .RSTA(1'b0), {bits("ADA", "wa", 14)}, {bits("ADB", "pa", 14)},
        {", ".join(f".DIA{k}(data[{k}])" for k in range(18))},
        {", ".join(f".DIB{k}(data[{k + 18}])" for k in range(18))},
        {bits("DOA", "low", 18)}, {bits("DOB", "high", 18)});

    DP16KD #(.DATA_WIDTH_A(36), .DATA_WIDTH_B(9), .REGMODE_A("OUTREG"), .REGMODE_B("OUTREG")) late (
        .CLKA(clk), .CEA(we), .WEA(1'b1), .CLKB(clk), .CEB(1'b1), .WEB(1'b0), .RSTB(1'b0),
        .RSTA(1'b0), .OCEA(1'b1), .OCEB(1'b1), {bits("ADA", "wa", 14)}, {bits("ADB", "ra", 14)},
        {", ".join(f".DIA{k}(data[{k}])" for k in range(18))},
        {", ".join(f".DIB{k}(data[{k + 18}])" for k in range(18))},
        {bits("DOB", "later", 18)});

    task tick; begin #1 clk = 1; #1 clk = 0; end endtask
    task check(input [35:0] is, input [35:0] wanted);
        if (is !== wanted) begin $display("%0d: %h is not %h", $time, is, wanted); $finish; end
    endtask

    reg signed [17:0] a, b;
    wire [35:0] product, natural;
    MULT18X18D signs (.SIGNEDA(1'b1), .SIGNEDB(1'b1), {bits("A", "a", 18)}, {bits("B", "b", 18)},
                      {bits("P", "product", 36)});
    MULT18X18D plain (.SIGNEDA(1'b0), .SIGNEDB(1'b0), {bits("A", "a", 18)}, {bits("B", "b", 18)},
                      {bits("P", "natural", 36)});

    integer n;
    initial begin
        we = 1;
        wa = {{9'd5, 5'b01111}}; data = 36'h123456789; tick;
        wa = {{9'd6, 5'b00101}}; data = 36'hfffffffff; tick;     // two of four bytes
        we = 0;
        for (n = 0; n < 4; n = n + 1) begin
            ra = {{9'd5, n[1:0], 3'b000}}; tick;
            check(narrow[8:0], 36'h123456789 >> 9 * n & 9'h1ff);
            if (n > 0) check(later[8:0], 36'h123456789 >> 9 * (n - 1) & 9'h1ff);
        end
        pa = {{9'd6, 5'd0}}; tick;
        check({{high, low}}, 36'h007fc01ff);
        we = 1; pa = {{9'd5, 5'd0}}; wa = {{9'd5, 5'b00001}}; data = 0; tick;
        check({{high, low}}, 36'h123456789 ^ 36'h1ff);        // read while written
        we = 0; tick;
        check({{high, low}}, 36'h123456600);
        a = -3; b = 7; #1 check(product, -36'd21);
        check(natural, 36'h3fffd * 36'd7);
        a = 18'h20000; b = 18'h20000; #1 check(product, 36'h400000000);
        $display("passed");
        $finish;
    end
endmodule
"""


@icarus
def test_cell_models(tmp_path):
    (tmp_path / "test.v").write_text(BENCH, encoding="utf-8")
    subprocess.run(["iverilog", "-g2012", "-o", tmp_path / "test", "-s", "test",
                    tmp_path / "test.v", _SOURCES / "ecp5.v"], check=True)
    done = subprocess.run(["vvp", tmp_path / "test"], capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "passed", done.stdout
