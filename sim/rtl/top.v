// Core and memory model, for the harness and the cocotb bench.
//
// sim/rtl/machine.py defines macros before this file: the widths TERN_MEMORY_BITS,
// TERN_COMMAND_BITS and TERN_LOGIT_BITS; TERN_DEPTH (words of the memory model); TERN_SDRAM_BITS if
// the memory has a clock of its own; and TERN_CLOCKS, the number of gated clocks, if resting blocks
// have them.

module top (
    input  wire        clk,
    input  wire        rst,
`ifdef TERN_SDRAM_BITS
    input  wire        memory_clk,
`endif
`ifdef TERN_CLOCKS
    input  wire [`TERN_CLOCKS-1:0] clocks,
    output wire [`TERN_CLOCKS-1:0] needed,
`endif

    input  wire        request__valid,
    output wire        request__ready,
    input  wire [40:0] request__payload,
    output wire        response__valid,
    input  wire        response__ready,
    output wire [31:0] response__payload,

    input  wire        messages__valid,
    output wire        messages__ready,
    input  wire [31:0] messages__payload,
    output wire        tokens__valid,
    input  wire        tokens__ready,
    output wire [31:0] tokens__payload,
    output wire        logits__valid,
    input  wire        logits__ready,
    output wire [`TERN_LOGIT_BITS-1:0] logits__payload,

    input  wire                          host__command__valid,
    output wire                          host__command__ready,
    input  wire [`TERN_COMMAND_BITS-1:0] host__command__payload,
    input  wire                          host__write__valid,
    output wire                          host__write__ready,
    input  wire [`TERN_MEMORY_BITS-1:0]  host__write__payload,
    output wire                          host__read__valid,
    input  wire                          host__read__ready,
    output wire [`TERN_MEMORY_BITS-1:0]  host__read__payload,

    input  wire [31:0] memory_seed,
    input  wire [31:0] memory_latency,
    input  wire [31:0] memory_gap,
    input  wire [31:0] memory_busy,
    output wire        read_beat,
    output wire        write_beat
);
    wire                          command__valid, command__ready;
    wire [`TERN_COMMAND_BITS-1:0] command__payload;
    wire                          write__valid, write__ready;
    wire [`TERN_MEMORY_BITS-1:0]  write__payload;
    wire                          read__valid, read__ready;
    wire [`TERN_MEMORY_BITS-1:0]  read__payload;

    assign read_beat  = read__valid & read__ready;
    assign write_beat = write__valid & write__ready;

    core core (
`ifdef TERN_CLOCKS
        .clocks(clocks), .needed(needed),
`endif
        .clk(clk), .rst(rst),
        .request__valid(request__valid), .request__ready(request__ready),
        .request__payload(request__payload),
        .response__valid(response__valid), .response__ready(response__ready),
        .response__payload(response__payload),
        .messages__valid(messages__valid), .messages__ready(messages__ready),
        .messages__payload(messages__payload),
        .tokens__valid(tokens__valid), .tokens__ready(tokens__ready),
        .tokens__payload(tokens__payload),
        .logits__valid(logits__valid), .logits__ready(logits__ready),
        .logits__payload(logits__payload),
        .memory__command__valid(command__valid), .memory__command__ready(command__ready),
        .memory__command__payload(command__payload),
        .memory__write__valid(write__valid), .memory__write__ready(write__ready),
        .memory__write__payload(write__payload),
        .memory__read__valid(read__valid), .memory__read__ready(read__ready),
        .memory__read__payload(read__payload),
        .host__command__valid(host__command__valid), .host__command__ready(host__command__ready),
        .host__command__payload(host__command__payload),
        .host__write__valid(host__write__valid), .host__write__ready(host__write__ready),
        .host__write__payload(host__write__payload),
        .host__read__valid(host__read__valid), .host__read__ready(host__read__ready),
        .host__read__payload(host__read__payload)
    );

    tern_memory #(.BITS(`TERN_MEMORY_BITS), .COMMAND_BITS(`TERN_COMMAND_BITS),
                  .DEPTH(`TERN_DEPTH)) memory (
`ifdef TERN_SDRAM_BITS
        .memory_clk(memory_clk),
`endif
        .clk(clk), .rst(rst), .seed(memory_seed), .latency(memory_latency),
        .gap(memory_gap), .busy(memory_busy),
        .command__valid(command__valid), .command__ready(command__ready),
        .command__payload(command__payload),
        .write__valid(write__valid), .write__ready(write__ready), .write__payload(write__payload),
        .read__valid(read__valid), .read__ready(read__ready), .read__payload(read__payload)
    );
endmodule
