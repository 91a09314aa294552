// An SDRAM for sim/rtl/pins.cpp: bidirectional pins are split by direction, and the model's
// findings are outputs.
//
// TERN_PART, parameters of the part's model, is defined before this file.

`timescale 1ps / 1ps

module sdram_pins (
    input  wire         clk,
    input  wire         cke, cs_n, ras_n, cas_n, we_n,
    input  wire [1:0]   ba,
    input  wire [12:0]  a,
    input  wire [1:0]   dqm,
    input  wire [15:0]  dq,
    input  wire         dq_driven,
    output wire         drives,
    output wire [15:0]  word,
    output wire         set,
    output wire [1:0]   latency,
    output wire [31:0]  refreshes,
    output wire [31:0]  violations,
    output wire [63:0]  broken_high, broken_low
);
    wire [15:0] pins;
    assign pins = dq_driven ? dq : 16'bz;

    tern_sdram #(`TERN_PART, .FATAL(0), .REAL_TIME(1)) memory (
        .Dq(pins), .Addr(a), .Ba(ba), .Clk(clk), .Cke(cke), .Cs_n(cs_n), .Ras_n(ras_n),
        .Cas_n(cas_n), .We_n(we_n), .Dqm(dqm)
    );

    assign drives      = memory.driving;
    assign word        = memory.out;
    assign set         = memory.set;
    assign latency     = memory.latency;
    assign refreshes   = memory.refreshes;
    assign violations  = memory.violations;
    assign {broken_high, broken_low} = memory.broken;
endmodule
