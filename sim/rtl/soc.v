// A board without its pins: tern_fpga.hw.soc.Soc and a memory model, for sim/commands/board.py.
//
// sim/commands/board.py defines macros before this file: TERN_MEMORY_BITS and TERN_COMMAND_BITS
// (widths), and TERN_DEPTH (words of the memory model).

module top (
    input  wire        clk,
    input  wire        rst,
    input  wire        rx,
    output wire        tx,

    input  wire [31:0] memory_seed,
    input  wire [31:0] memory_latency,
    input  wire [31:0] memory_gap,
    input  wire [31:0] memory_busy
);
    wire                          command__valid, command__ready;
    wire [`TERN_COMMAND_BITS-1:0] command__payload;
    wire                          write__valid, write__ready;
    wire [`TERN_MEMORY_BITS-1:0]  write__payload;
    wire                          read__valid, read__ready;
    wire [`TERN_MEMORY_BITS-1:0]  read__payload;

    soc soc (
        .clk(clk), .rst(rst), .rx(rx), .tx(tx), .active(), .busy(), .stopped(),
        .memory__command__valid(command__valid), .memory__command__ready(command__ready),
        .memory__command__payload(command__payload),
        .memory__write__valid(write__valid), .memory__write__ready(write__ready),
        .memory__write__payload(write__payload),
        .memory__read__valid(read__valid), .memory__read__ready(read__ready),
        .memory__read__payload(read__payload)
    );

    tern_memory #(.BITS(`TERN_MEMORY_BITS), .COMMAND_BITS(`TERN_COMMAND_BITS),
                  .DEPTH(`TERN_DEPTH)) memory (
        .clk(clk), .rst(rst), .seed(memory_seed), .latency(memory_latency),
        .gap(memory_gap), .busy(memory_busy),
        .command__valid(command__valid), .command__ready(command__ready),
        .command__payload(command__payload),
        .write__valid(write__valid), .write__ready(write__ready), .write__payload(write__payload),
        .read__valid(read__valid), .read__ready(read__ready), .read__payload(read__payload)
    );
endmodule
