// SDRAM controller and part that replace memory.v, with the same module name and ports.
//
// Seed, latency, gap and busy are ignored, because the SDRAM determines the timing. TERN_PART,
// parameters of the part's model, is defined before this file. If TERN_SDRAM_BITS is defined, the
// part has words of that width and a clock of its own.

module tern_memory #(
    parameter BITS = 16,
    parameter COMMAND_BITS = 32,
    parameter DEPTH = 1024
) (
    input  wire        clk,
    input  wire        rst,
`ifdef TERN_SDRAM_BITS
    input  wire        memory_clk,
`endif
    input  wire [31:0] seed,
    input  wire [31:0] latency,
    input  wire [31:0] gap,
    input  wire [31:0] busy,

    input  wire                    command__valid,
    output wire                    command__ready,
    input  wire [COMMAND_BITS-1:0] command__payload,
    input  wire                    write__valid,
    output wire                    write__ready,
    input  wire [BITS-1:0]         write__payload,
    output wire                    read__valid,
    input  wire                    read__ready,
    output wire [BITS-1:0]         read__payload
);
`ifdef TERN_SDRAM_BITS
    localparam SDRAM_BITS = `TERN_SDRAM_BITS;
    wire part_clk = memory_clk;
`else
    localparam SDRAM_BITS = BITS;
    wire part_clk = clk;
`endif
    wire              cke, cs_n, ras_n, cas_n, we_n, dq_oe;
    wire [1:0]        ba;
    wire [12:0]       a;
    wire [SDRAM_BITS/8-1:0] dqm;
    wire [SDRAM_BITS-1:0]   dq_o, dq;
    assign dq = dq_oe ? dq_o : {SDRAM_BITS{1'bz}};

    sdram_controller controller (
`ifdef TERN_SDRAM_BITS
        .memory_clk(memory_clk), .memory_rst(rst),
`endif
        .clk(clk), .rst(rst),
        .port__command__valid(command__valid), .port__command__ready(command__ready),
        .port__command__payload(command__payload),
        .port__write__valid(write__valid), .port__write__ready(write__ready),
        .port__write__payload(write__payload),
        .port__read__valid(read__valid), .port__read__ready(read__ready),
        .port__read__payload(read__payload),
        .pins__cke(cke), .pins__cs_n(cs_n), .pins__ras_n(ras_n), .pins__cas_n(cas_n),
        .pins__we_n(we_n), .pins__ba(ba), .pins__a(a), .pins__dqm(dqm),
        .pins__dq_o(dq_o), .pins__dq_oe(dq_oe), .pins__dq_i(dq)
    );

    // sim/rtl/machine.py finds the words in the instance called `memory`.
    tern_sdram #(.DQ_BITS(SDRAM_BITS), `TERN_PART) memory (
        .Dq(dq), .Addr(a), .Ba(ba), .Clk(part_clk), .Cke(cke), .Cs_n(cs_n), .Ras_n(ras_n),
        .Cas_n(cas_n), .We_n(we_n), .Dqm(dqm)
    );

    always @(posedge clk) begin
        if (!rst && read__valid && !read__ready)
            $fatal(1, "memory: a word came and read.ready was low");
    end
    always @(posedge part_clk) begin
        if (dq_oe && memory.driving)
            $fatal(1, "sdram: data bus fight: controller and part drive it");
    end
endmodule
