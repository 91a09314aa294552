// SDRAM controller and part, with random accesses whose results are checked.
//
// TERN_COMMAND_BITS, TERN_MEMORY_BITS and TERN_PART (parameters of the model) are defined before
// this file. The bench fills TERN_FILL words of memory before the start. TERN_MODEL, if defined, is
// the module of a vendor's model that replaces tern_sdram, with its parameters. Such a model is not
// filled and has no counters, so that only mode 1 can run. TERN_LOOP_NS and TERN_PIN_REGISTERS: see
// below.
//
// mode 0: read `amount` words in commands of 64, from address 0 on, repeating the TERN_FILL words.
// mode 1: read and write `amount` words at random in four pieces of 4096 words, with commands of
// any length, idle times and late write words. At first, the pieces are written completely.

module sdram_bench (
    input  wire        clk,
    input  wire        rst,
    input  wire [31:0] seed,
    input  wire        mode,
    input  wire [31:0] amount,
    output wire        finished,
    output reg  [31:0] errors,
    output reg  [31:0] words_read,
    output reg  [31:0] words_written,
    output reg  [31:0] span,        // cycles from the first word read to the last
    output reg  [31:0] latency,     // fewest cycles from a command to its first word
    output wire [31:0] refreshes,
    output wire [31:0] violations
);
    localparam ADDRESS_BITS = `TERN_COMMAND_BITS - 8;
    localparam WIDTH = `TERN_MEMORY_BITS;
    localparam PLACES = 1 << 14, WAITING = 4096;

    // Initial contents of memory.
    function [WIDTH-1:0] filling(input [31:0] address);
        filling = (address * 32'd40503 + (address >> 16)) ^ (address >> 7);
    endfunction

    // Two pieces are at the ends of memory, and two where all address bits differ.
    function [ADDRESS_BITS-1:0] place(input [13:0] index);
        case (index[13:12])
        0: place = {{ADDRESS_BITS-12{1'b0}}, index[11:0]};
        1: place = {{ADDRESS_BITS-12{1'b1}}, index[11:0]};
        2: place = {{(ADDRESS_BITS-12)/2{2'b10}}, index[11:0]};
        3: place = {{(ADDRESS_BITS-12)/2{2'b01}}, index[11:0]};
        endcase
    endfunction

    reg                           command_valid, write_valid;
    wire                          command_ready, write_ready, read_valid;
    reg  [`TERN_COMMAND_BITS-1:0] command;
    reg  [WIDTH-1:0]              write_word;
    wire [WIDTH-1:0]              read_word;

    reg [WIDTH-1:0] holds [0:PLACES-1];     // contents of memory after all commands
    reg [WIDTH-1:0] awaited [0:WAITING-1];  // words that outstanding reads must return
    reg [WIDTH-1:0] offered [0:WAITING-1];  // words that outstanding writes must take
    reg [31:0] asked, answered, given, taken;
    reg [31:0] alone;               // `asked` before a read without other outstanding commands

    reg [31:0] random, asked_words, address, count, cycle, first_at, idle, pace, taken_at,
               late;
    reg [13:0] index;
    reg        writes;
    integer    n;

    function [31:0] shuffled(input [31:0] x);
        reg [31:0] y;
        begin
            y = x ^ x << 13;
            y = y ^ y >> 17;
            shuffled = y ^ y << 5;
        end
    endfunction

    assign finished = !rst && asked_words >= amount && answered == asked && taken == given
                      && !command_valid;

    always @(posedge clk) begin
        cycle  = cycle + 1;
        random = shuffled(random);
        if (command_valid && command_ready) begin
            command_valid <= 0;
            taken_at = cycle;
        end
        if (idle != 0)
            idle = idle - 1;
        if (late != 0)
            late = late - 1;

        if ((!command_valid || command_ready) && idle == 0 && asked_words < amount
                && asked - answered < WAITING - 64 && given - taken < WAITING - 64) begin
            random = shuffled(random);
            writes = mode && (asked_words < PLACES || random[0]);
            count  = 64;
            if (mode && asked_words >= PLACES)
                case (random[2:1])
                0: count = 1 + random[3];
                1: count = 1 + random[8:3];
                default: ;
                endcase
            index   = asked_words < PLACES ? asked_words : random[31:18];
            if (index[11:0] + count > 4096)
                index[11:0] = 4096 - count;
            address = mode ? place(index) : asked_words % `TERN_FILL;
            for (n = 0; n < count; n = n + 1)
                if (writes) begin
                    random = shuffled(random);
                    holds[index + n] = {random[15:0], random[31:16]};
                    offered[(given + n) % WAITING] = holds[index + n];
                end else
                    awaited[(asked + n) % WAITING] = mode ? holds[index + n]
                                                          : filling(address + n);
            alone = !writes && asked == answered && given == taken ? asked : 32'hffffffff;
            if (writes) given = given + count;
            else        asked = asked + count;
            // Some write words are delayed for longer than refreshes may be postponed.
            if (writes && random[31:22] == 0)
                late = 12000;
            asked_words   = asked_words + count;
            command       <= {count[6:0], address[ADDRESS_BITS-1:0], writes};
            command_valid <= 1;
            // There are phases without idle times, with short ones, and with long ones.
            if (mode)
                case (asked_words[14:13])
                0: begin idle = 0; pace = 255; end
                1: begin idle = random[5:0]; pace = 255; end
                2: begin idle = random[4] ? 0 : random[15:6]; pace = 60; end
                3: begin idle = 0; pace = 200; end
                endcase
        end

        if (write_valid && write_ready)
            write_valid <= 0;
        if ((!write_valid || write_ready) && taken != given && random[15:8] <= pace
                && late == 0) begin
            write_valid <= 1;
            write_word  <= offered[taken % WAITING];
            taken         = taken + 1;
            words_written = words_written + 1;
        end

        if (read_valid) begin
            if (answered == asked || read_word !== awaited[answered % WAITING]) begin
                if (errors < 10)
                    $display("word %0d is %h and not %h", answered, read_word,
                             awaited[answered % WAITING]);
                errors = errors + 1;
            end
            if (answered == 0)
                first_at = cycle;
            // The first word of the only outstanding command.
            if (!command_valid && answered == alone && cycle - taken_at < latency)
                latency = cycle - taken_at;
            answered   = answered + 1;
            words_read = words_read + 1;
            span       = cycle - first_at + 1;
        end

        if (rst) begin
            random        = (seed ^ 32'h9e3779b9) == 0 ? 32'd1 : seed ^ 32'h9e3779b9;
            command_valid <= 0;
            write_valid   <= 0;
            asked = 0; answered = 0; given = 0; taken = 0; asked_words = 0; cycle = 0; idle = 0;
            late = 0;
            pace = 255; first_at = 0; errors = 0; words_read = 0; words_written = 0; span = 0;
            alone = 32'hffffffff; latency = 32'hffffffff; taken_at = 0;
        end
    end

    wire               cke, cs_n, ras_n, cas_n, we_n, dq_oe;
    wire [1:0]         ba;
    wire [12:0]        a;
    wire [WIDTH/8-1:0] dqm;
    wire [WIDTH-1:0]   dq_o, dq_i, dq;

    // Outputs of the controller, and signals at the pins.
    wire               c_cke, c_cs_n, c_ras_n, c_cas_n, c_we_n, c_dq_oe;
    wire [1:0]         c_ba;
    wire [12:0]        c_a;
    wire [WIDTH/8-1:0] c_dqm;
    wire [WIDTH-1:0]   c_dq_o;
    wire [21+WIDTH/8+WIDTH-1:0] outputs, driven;
    assign outputs = {c_cke, c_cs_n, c_ras_n, c_cas_n, c_we_n, c_ba, c_a, c_dq_oe, c_dqm, c_dq_o};
    assign {cke, cs_n, ras_n, cas_n, we_n, ba, a, dq_oe, dqm, dq_o} = driven;
    assign dq = dq_oe ? dq_o : {WIDTH{1'bz}};

`ifdef TERN_LOOP_NS
    // As on a board, the part's clock is inverted. Words are delayed by the access time, and by all
    // delays from the clock to the part and from the part to the pins. For Icarus only.
    wire             part_clk = ~clk;
    reg  [WIDTH-1:0] arrived;
    always @(dq) arrived <= #(`TERN_LOOP_NS) dq;
`else
    wire             part_clk = clk;
    wire [WIDTH-1:0] arrived = dq;
`endif

`ifdef TERN_PIN_REGISTERS
    // A register in the I/O cell of every pin. Input registers use the edge `TERN_PIN_REGISTERS.
    reg [21+WIDTH/8+WIDTH-1:0] output_cells;
    reg [WIDTH-1:0]            input_cells;
    always @(posedge clk) output_cells <= outputs;
    always @(`TERN_PIN_REGISTERS clk) input_cells <= arrived;
    assign driven = output_cells;
    assign dq_i   = input_cells;
`else
    assign driven = outputs;
    assign dq_i   = arrived;
`endif

    sdram_controller controller (
        .clk(clk), .rst(rst),
        .port__command__valid(command_valid), .port__command__ready(command_ready),
        .port__command__payload(command),
        .port__write__valid(write_valid), .port__write__ready(write_ready),
        .port__write__payload(write_word),
        .port__read__valid(read_valid), .port__read__ready(1'b1),
        .port__read__payload(read_word),
        .pins__cke(c_cke), .pins__cs_n(c_cs_n), .pins__ras_n(c_ras_n), .pins__cas_n(c_cas_n),
        .pins__we_n(c_we_n), .pins__ba(c_ba), .pins__a(c_a), .pins__dqm(c_dqm),
        .pins__dq_o(c_dq_o), .pins__dq_oe(c_dq_oe),
        .pins__dq_i(dq_i)
    );

`ifdef TERN_MODEL
    `TERN_MODEL memory (
`else
    tern_sdram #(.DQ_BITS(WIDTH), `TERN_PART) memory (
`endif
        .Dq(dq), .Addr(a), .Ba(ba), .Clk(part_clk), .Cke(cke), .Cs_n(cs_n), .Ras_n(ras_n),
        .Cas_n(cas_n), .We_n(we_n), .Dqm(dqm)
    );

`ifdef TERN_MODEL
    assign refreshes  = 0;
    assign violations = 0;
`else
    assign refreshes  = memory.refreshes;
    assign violations = memory.violations;

    initial
        for (n = 0; n < `TERN_FILL; n = n + 1)
            memory.words[n] = filling(n);

    always @(posedge clk)
        if (dq_oe && memory.driving)
            $fatal(1, "sdram: data bus fight: controller and part drive it");
`endif
endmodule
