// Memory with the burst port (tern_fpga.hw.common.signatures.MemoryPort), for benches and for the
// whole core.
//
// A queue holds 16 commands, which are executed in order. A command starts `latency` cycles after
// it was taken, or when the previous command has ended if that is later, so that a queue of reads
// delivers a word in every cycle. In each cycle, no word is read with a probability of `gap` / 256.
// No command, and independently no write word, is taken with a probability of `busy` / 256. `seed`
// and the reset determine all random choices.
//
// A violation of the protocol ends the simulation: read__ready is low when a word arrives; a burst
// is empty, longer than 64 words, or outside the memory; an offer changes before it is taken.

module tern_memory #(
    parameter BITS = 16,            // width of a word
    parameter COMMAND_BITS = 32,    // {words (7), address, write (1)}
    parameter DEPTH = 1024          // number of words; larger addresses are refused
) (
    input  wire        clk,
    input  wire        rst,
    input  wire [31:0] seed,
    input  wire [31:0] latency,     // cycles from a read command to its first word, at least 2
    input  wire [31:0] gap,
    input  wire [31:0] busy,

    input  wire                    command__valid,
    output wire                    command__ready,
    input  wire [COMMAND_BITS-1:0] command__payload,
    input  wire                    write__valid,
    output wire                    write__ready,
    input  wire [BITS-1:0]         write__payload,
    output reg                     read__valid,
    input  wire                    read__ready,
    output reg  [BITS-1:0]         read__payload
);
    localparam COUNT_BITS   = 7;
    localparam ADDRESS_BITS = COMMAND_BITS - COUNT_BITS - 1;

    reg [BITS-1:0] words [0:DEPTH-1] /* verilator public_flat_rw */;

    reg [COMMAND_BITS-1:0] queue [0:15];
    reg [31:0]             due   [0:15];    // cycle in which the command may start
    reg [3:0]              head, tail;
    reg [4:0]              level;
    reg [COUNT_BITS-1:0]   done;            // words moved for the command at the head
    reg [31:0]             now;
    reg [31:0]             random;          // xorshift32

    wire [COMMAND_BITS-1:0] command = queue[head];
    wire                    writes  = command[0];
    wire [ADDRESS_BITS-1:0] address = command[ADDRESS_BITS:1];
    wire [COUNT_BITS-1:0]   count   = command[COMMAND_BITS-1:ADDRESS_BITS+1];
    wire [31:0]             wait_for = due[head] - now;
    wire                    started = level != 0 && (wait_for == 0 || wait_for[31]);

    assign command__ready = level != 16 && {24'd0, random[7:0]} >= busy;
    assign write__ready   = started && writes && {24'd0, random[15:8]} >= busy;
    wire read_now  = started && !writes && {24'd0, random[23:16]} >= gap;
    wire write_now = write__ready && write__valid;
    wire take      = command__ready && command__valid;
    wire finish    = (read_now || write_now) && done + 1'b1 == count;

    wire [31:0] random_1 = random ^ random << 13;
    wire [31:0] random_2 = random_1 ^ random_1 >> 17;

    wire [ADDRESS_BITS-1:0] offered_address = command__payload[ADDRESS_BITS:1];
    wire [COUNT_BITS-1:0]   offered_count   = command__payload[COMMAND_BITS-1:ADDRESS_BITS+1];
    wire [63:0] offered_end = {{64-ADDRESS_BITS{1'b0}}, offered_address}
                            + {{64-COUNT_BITS{1'b0}}, offered_count};

    reg                    command_held, write_held;    // offered in the previous cycle, not taken
    reg [COMMAND_BITS-1:0] held_command;
    reg [BITS-1:0]         held_write;

    always @(posedge clk) begin
        random <= random_2 ^ random_2 << 5;
        now    <= now + 1;
        if (take) begin
            queue[tail] <= command__payload;
            due[tail]   <= now + latency - 1;
            tail        <= tail + 1'b1;
        end
        if (finish) begin
            head <= head + 1'b1;
            done <= 0;
        end else if (read_now || write_now)
            done <= done + 1'b1;
        level <= level + {4'd0, take} - {4'd0, finish};

        read__valid <= read_now;
        if (read_now)
            read__payload <= words[address + {{ADDRESS_BITS-COUNT_BITS{1'b0}}, done}];
        if (write_now)
            words[address + {{ADDRESS_BITS-COUNT_BITS{1'b0}}, done}] <= write__payload;

        command_held <= command__valid && !command__ready;
        write_held   <= write__valid && !write__ready;
        held_command <= command__payload;
        held_write   <= write__payload;

        if (rst) begin
            random       <= (seed ^ 32'h9e3779b9) == 0 ? 32'd1 : seed ^ 32'h9e3779b9;
            now          <= 0;
            head         <= 0;
            tail         <= 0;
            level        <= 0;
            done         <= 0;
            read__valid  <= 0;
            command_held <= 0;
            write_held   <= 0;
        end else begin
            if (read__valid && !read__ready)
                $fatal(1, "memory: a word came and read.ready was low");
            if (take && (offered_count == 0 || offered_count > 64 || offered_end > DEPTH))
                $fatal(1, "memory: a burst of %0d words at %0d of %0d", offered_count,
                       offered_address, DEPTH);
            if (command_held && !(command__valid && command__payload == held_command))
                $fatal(1, "memory: a command changed before it was taken");
            if (write_held && !(write__valid && write__payload == held_write))
                $fatal(1, "memory: a write word changed before it was taken");
        end
    end
endmodule
