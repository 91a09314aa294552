// Models of the ECP5 cells between a netlist and its pins, with the features that boards/ uses.
// Sources: Lattice's FPGA-TN-02032 (I/O cells) and FPGA-TN-02200 (PLL). Features without a model
// are refused: a parameter or port is missing, or $fatal ends the simulation.
//
// The top is module `bench`, which sim/rtl/pins.py writes and sim/rtl/pins.cpp drives.

module IB (input wire I, output wire O);
    assign O = I;
endmodule

module OB (input wire I, output wire O);
    assign O = I;
endmodule

// Outputs of a board must not float, so a T other than 0 ends the simulation.
module OBZ (input wire I, input wire T, output wire O);
    assign O = I;
    always @(posedge T)
        $fatal(1, "OBZ: an output pin is not driven");
    initial
        if (T) $fatal(1, "OBZ: an output pin is not driven");
endmodule

module BB (input wire I, input wire T, output wire O, inout wire B);
    assign B = T ? 1'bz : I;
    assign O = B;
endmodule

// Registers of I/O cells are 0 after configuration, because GSR and REGSET are not used.
module OFS1P3DX (input wire SCLK, input wire SP, input wire CD, input wire D, output reg Q);
    initial Q = 0;
    always @(posedge SCLK or posedge CD)
        if (CD) Q <= 0;
        else if (SP) Q <= D;
endmodule

module IFS1P3DX (input wire SCLK, input wire SP, input wire CD, input wire D, output reg Q);
    initial Q = 0;
    always @(posedge SCLK or posedge CD)
        if (CD) Q <= 0;
        else if (SP) Q <= D;
endmodule

module FD1S3AX (input wire CK, input wire D, output reg Q);
    initial Q = 0;
    always @(posedge CK) Q <= D;
endmodule

// The output is D0 while the clock is high, and D1 while it is low.
module ODDRX1F (input wire SCLK, input wire RST, input wire D0, input wire D1, output wire Q);
    reg high, low;
    initial begin high = 0; low = 0; end
    always @(posedge SCLK or posedge RST)
        if (RST) begin
            high <= 0;
            low  <= 0;
        end else begin
            high <= D0;
            low  <= D1;
        end
    assign Q = SCLK ? high : low;
endmodule

// The bench drives the clocks. sim/rtl/pins.py computes them from the parameters, and refuses
// parameters that it does not know.
module EHXPLLL #(
    parameter CLKI_DIV = 1, parameter CLKFB_DIV = 1,
    parameter CLKOP_DIV = 8, parameter CLKOS_DIV = 8,
    parameter CLKOS2_DIV = 8, parameter CLKOS3_DIV = 8,
    parameter CLKOP_CPHASE = 0, parameter CLKOS_CPHASE = 0,
    parameter CLKOS2_CPHASE = 0, parameter CLKOS3_CPHASE = 0,
    parameter CLKOP_FPHASE = 0, parameter CLKOS_FPHASE = 0,
    parameter CLKOS2_FPHASE = 0, parameter CLKOS3_FPHASE = 0,
    parameter [63:0] CLKOP_ENABLE = "ENABLED", parameter [63:0] CLKOS_ENABLE = "DISABLED",
    parameter [63:0] CLKOS2_ENABLE = "DISABLED", parameter [63:0] CLKOS3_ENABLE = "DISABLED",
    parameter [63:0] FEEDBK_PATH = "CLKOP",
    parameter [63:0] OUTDIVIDER_MUXA = "DIVA", parameter [63:0] OUTDIVIDER_MUXB = "DIVB",
    parameter [63:0] OUTDIVIDER_MUXC = "DIVC", parameter [63:0] OUTDIVIDER_MUXD = "DIVD",
    parameter [63:0] PLLRST_ENA = "DISABLED", parameter [63:0] INTFB_WAKE = "DISABLED",
    parameter [63:0] STDBY_ENABLE = "DISABLED", parameter [63:0] DPHASE_SOURCE = "DISABLED"
) (
    input  wire CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG,
                PLLWAKESYNC, ENCLKOP, ENCLKOS, ENCLKOS2, ENCLKOS3,
    output wire CLKOP, CLKOS, CLKOS2, CLKOS3, LOCK
);
    assign bench.pll_clki  = CLKI;
    assign bench.pll_clkfb = CLKFB;
    assign {CLKOS3, CLKOS2, CLKOS, CLKOP} = bench.pll_clocks;
    assign LOCK = bench.pll_lock;
endmodule

// Yosys' TRELLIS_IO of a netlist after synthesis, by direction. Unconnected inputs are 0.
module TRELLIS_INPUT #(parameter DIR = "INPUT") (input wire B, output wire O);
    assign O = B;
endmodule

module TRELLIS_OUTPUT #(parameter DIR = "OUTPUT") (output wire B, input wire I, input wire T);
    assign B = I;
    always @(posedge T)
        $fatal(1, "TRELLIS_IO: an output pin is not driven");
endmodule

module TRELLIS_BIDIR #(parameter DIR = "BIDIR") (
    inout wire B, input wire I, input wire T, output wire O
);
    assign B = T ? 1'bz : I;
    assign O = B;
endmodule
