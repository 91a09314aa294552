// The board of top.v with a register at each input, for harness.cpp. The inputs of the core thus
// change after rising edges, and nothing needs evaluation at falling edges.
//
// The macros with widths are those of top.v, which is compiled before this file.

module harness (
    input  wire        clk,
    input  wire        next_rst,
`ifdef TERN_SDRAM_BITS
    input  wire        memory_clk,
`endif
`ifdef TERN_CLOCKS
    input  wire [`TERN_CLOCKS-1:0] clocks,
    output wire [`TERN_CLOCKS-1:0] needed,
`endif

    input  wire        next_request__valid,
    output wire        request__ready,
    input  wire [40:0] next_request__payload,
    output wire        response__valid,
    output wire [31:0] response__payload,

    input  wire        next_messages__valid,
    output wire        messages__ready,
    input  wire [31:0] next_messages__payload,
    output wire        tokens__valid,
    output wire [31:0] tokens__payload,
    output wire        logits__valid,
    output wire [`TERN_LOGIT_BITS-1:0] logits__payload,

    input  wire [31:0] memory_seed,
    input  wire [31:0] memory_latency,
    input  wire [31:0] memory_gap,
    input  wire [31:0] memory_busy,
    output wire        read_beat,
    output wire        write_beat
);
    reg        rst = 1'b1, request__valid = 1'b0, messages__valid = 1'b0;
    reg [40:0] request__payload;
    reg [31:0] messages__payload;

    always @(posedge clk) begin
        rst               <= next_rst;
        request__valid    <= next_request__valid;
        request__payload  <= next_request__payload;
        messages__valid   <= next_messages__valid;
        messages__payload <= next_messages__payload;
    end

    top top (
`ifdef TERN_CLOCKS
        .clocks(clocks), .needed(needed),
`endif
        .clk(clk), .rst(rst),
`ifdef TERN_SDRAM_BITS
        .memory_clk(memory_clk),
`endif
        .request__valid(request__valid), .request__ready(request__ready),
        .request__payload(request__payload),
        .response__valid(response__valid), .response__ready(1'b1),
        .response__payload(response__payload),
        .messages__valid(messages__valid), .messages__ready(messages__ready),
        .messages__payload(messages__payload),
        .tokens__valid(tokens__valid), .tokens__ready(1'b1), .tokens__payload(tokens__payload),
        .logits__valid(logits__valid), .logits__ready(1'b1), .logits__payload(logits__payload),
        .host__command__valid(1'b0), .host__command__ready(), .host__command__payload(),
        .host__write__valid(1'b0), .host__write__ready(), .host__write__payload(),
        .host__read__valid(), .host__read__ready(1'b1), .host__read__payload(),
        .memory_seed(memory_seed), .memory_latency(memory_latency), .memory_gap(memory_gap),
        .memory_busy(memory_busy), .read_beat(read_beat), .write_beat(write_beat)
    );
endmodule
