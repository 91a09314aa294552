// An SDR SDRAM that checks every rule of its datasheet and stores words.
//
// The ports are those of Micron's models (mt48lc16m16a2.v), so that one of these can replace it. A
// broken rule ends the simulation with its name, the time and the bank. With FATAL 0, it is only
// recorded in `broken` and `violations`. Times are in picoseconds and advance by CLOCK_PS at each
// clock edge, so that a simulator needs no delays. A data word is at the pins at the clock edge
// given by the CAS latency. With REAL_TIME 1, times are the simulator's picoseconds, and CLOCK_PS
// only converts rules that count clocks.
//
// The model has burst lengths of 1, 2, 4, 8 and a full page, sequential and interleaved, and single
// writes. It refuses auto precharge, clock suspend, power down and self refresh.
//
// `words` holds the word of row, bank and column at {row, bank, column}; write to it to fill
// memory. USED_COL_BITS limits the columns to those that the controller uses.

module tern_sdram #(
    parameter DQ_BITS   = 16,
    parameter ROW_BITS  = 13,
    parameter COL_BITS  = 9,
    parameter USED_COL_BITS = COL_BITS,     // access to other columns is an error
    parameter DEPTH     = 1 << (ROW_BITS + USED_COL_BITS + 2),  // words that the model stores
    parameter CLOCK_PS  = 10000,
    parameter REAL_TIME = 0,
    // From the datasheet, in ps, and in clocks for *_CLOCKS. 0: the datasheet has no such rule.
    parameter tCK2      = 10000,    // shortest clock period at a CAS latency of 2
    parameter tCK3      = 7000,
    parameter tRCD      = 21000,
    parameter tRP       = 21000,
    parameter tRAS      = 42000,
    parameter tRAS_MAX  = 120000000,
    parameter tRC       = 63000,
    parameter tRFC      = 63000,
    parameter tRRD      = 14000,
    parameter tWR       = 14000,
    parameter tMRD      = 14000,
    parameter RRD_CLOCKS = 0,
    parameter WR_CLOCKS  = 0,
    parameter MRD_CLOCKS = 2,
    parameter [63:0] tREF = 64000000000,    // time in which every row must be refreshed
    parameter [63:0] POWER_UP = 200000000,  // time of NOP before the first command
    parameter INIT_REFRESHES = 8,
    parameter POSTPONED = 8,                // refreshes that may be postponed
    parameter FATAL     = 1
) (
    inout  wire [DQ_BITS-1:0]   Dq,
    input  wire [12:0]          Addr,
    input  wire [1:0]           Ba,
    input  wire                 Clk,
    input  wire                 Cke,
    input  wire                 Cs_n,
    input  wire                 Ras_n,
    input  wire                 Cas_n,
    input  wire                 We_n,
    input  wire [DQ_BITS/8-1:0] Dqm
);
    localparam INDEX_BITS = ROW_BITS + USED_COL_BITS + 2;
    localparam [63:0] tREFI = tREF >> ROW_BITS;
    localparam [63:0] NEVER = 64'hffff_ffff_ffff_ffff;
    localparam RRD = tRRD > RRD_CLOCKS * CLOCK_PS ? tRRD : RRD_CLOCKS * CLOCK_PS;
    localparam WR  = tWR  > WR_CLOCKS  * CLOCK_PS ? tWR  : WR_CLOCKS  * CLOCK_PS;
    localparam MRD = tMRD > MRD_CLOCKS * CLOCK_PS ? tMRD : MRD_CLOCKS * CLOCK_PS;

    // {Ras_n, Cas_n, We_n}
    localparam [2:0] MODE = 0, REFRESH = 1, PRECHARGE = 2, ACTIVE = 3, WRITE = 4, READ = 5,
                     STOP = 6, NOP = 7;

    reg [DQ_BITS-1:0] words [0:DEPTH-1] /* verilator public_flat_rw */;

    reg [127:0] broken;             // name of the last broken rule
    integer     violations;
    integer     refreshes;          // for statistics
    // Cycles without a word because of a refresh: from the PRECHARGE before it until a row is open.
    reg [63:0]  refresh_cycles /* verilator public_flat_rd */;
    reg [63:0]  refreshing;         // end of the refresh
    reg [63:0]  now;

    reg [3:0]          opened;
    reg [ROW_BITS-1:0] row [0:3];
    reg [63:0] active_at [0:3], precharge_at [0:3], written_at [0:3];
    reg [63:0] any_active_at, refresh_at, mode_at;

    reg        awake;               // CKE has been high; earlier commands are ignored
    reg        closed_once;         // the power-up sequence's PRECHARGE ALL is done
    integer    init_refreshes;
    reg        set;                 // the mode register is set
    reg [2:0]  length;              // mode register: burst length
    reg        interleaved, single_write;
    reg [1:0]  latency;

    reg [63:0]         refresh_by;  // latest time of the next refresh
    reg [63:0]         row_refreshed_at [0:(1 << ROW_BITS)-1];
    reg [ROW_BITS-1:0] refresh_row;

    // The burst in progress, which moves words at this edge and the next ones.
    reg                running, running_write;
    reg [1:0]          burst_bank;
    reg [COL_BITS-1:0] burst_column, burst_done;    // first column, words moved

    // Words in flight to the pins.
    reg                first_valid, second_valid, driving, drove;
    reg [DQ_BITS-1:0]  first, second, out;
    reg [DQ_BITS/8-1:0] mask;       // at the previous edge

    assign Dq = driving ? out : {DQ_BITS{1'bz}};

    // Valid within this edge.
    reg                  moves, moves_write, drives;
    reg [1:0]            bank;
    reg [COL_BITS-1:0]   start, count, column, block;
    reg [INDEX_BITS-1:0] index;
    reg [2:0]            command;
    integer              n;

    task break_rule(input [127:0] rule, input [1:0] which);
        begin
            broken     = rule;
            violations = violations + 1;
            if (FATAL)
                $fatal(1, "sdram: %0s broken at %0d ps, bank %0d", rule, now, which);
        end
    endtask

    // `since` is NEVER if the event that starts the time has not happened.
    task at_least(input [127:0] rule, input [1:0] which, input [63:0] since, input [63:0] time_ps);
        if (since != NEVER && now - since < time_ps)
            break_rule(rule, which);
    endtask

    task use_row(input [1:0] which);
        begin
            if (!opened[which])
                break_rule("row closed", which);
            else begin
                at_least("tRCD", which, active_at[which], tRCD);
                if (now - active_at[which] > tRAS_MAX)
                    break_rule("tRAS max", which);
            end
            if (Addr[10])
                break_rule("auto precharge", which);
        end
    endtask

    task close(input [1:0] which);
        begin
            if (opened[which]) begin
                at_least("tRAS", which, active_at[which], tRAS);
                if (now - active_at[which] > tRAS_MAX)
                    break_rule("tRAS max", which);
                at_least("tWR", which, written_at[which], WR);
            end
            opened[which]       = 0;
            precharge_at[which] = now;
            if (running && burst_bank == which)
                running = 0;
        end
    endtask

    initial begin
        broken = 0; violations = 0; refreshes = 0; now = 0;
        refresh_cycles = 0; refreshing = 0;
        opened = 0; any_active_at = NEVER; refresh_at = NEVER; mode_at = NEVER;
        awake = 0; closed_once = 0; init_refreshes = 0; set = 0;
        length = 0; interleaved = 0; single_write = 0; latency = 2;
        refresh_by = NEVER; refresh_row = 0;
        running = 0; running_write = 0; first_valid = 0; second_valid = 0; driving = 0; drove = 0;
        out = 0; first = 0; second = 0;
        mask = 0;
        for (n = 0; n < 4; n = n + 1) begin
            active_at[n] = NEVER; precharge_at[n] = NEVER; written_at[n] = NEVER;
        end
        for (n = 0; n < 1 << ROW_BITS; n = n + 1)
            row_refreshed_at[n] = NEVER;
    end

    always @(posedge Clk) begin
        now     = REAL_TIME ? $time : now + CLOCK_PS;
        awake   = awake || Cke;
        command = Cs_n || !awake ? NOP : {Ras_n, Cas_n, We_n};
        moves   = 0;
        moves_write = 0;

        if (now > refresh_by && refresh_by != NEVER) begin
            break_rule("tREFI", 0);
            refresh_by = now + tREFI;
        end
        if (driving && Dq !== out)
            break_rule("data bus fight", burst_bank);

        if (command != NOP) begin
            // === finds an undriven pin in simulators with four states.
            if ((^{Cke, Cs_n, Ras_n, Cas_n, We_n, Ba, Addr}) === 1'bx)
                break_rule("pins undefined", Ba);
            if (!Cke)
                break_rule("CKE low", Ba);
            if (now < POWER_UP)
                break_rule("power-up time", Ba);
            if (!set && (command == READ || command == WRITE || command == ACTIVE
                         || command == STOP || (command != PRECHARGE && !closed_once)))
                break_rule("power-up order", Ba);
            at_least("tRFC", Ba, refresh_at, tRFC);
            at_least("tMRD", Ba, mode_at, MRD);
        end

        case (command)
        MODE: begin
            if (opened != 0)
                break_rule("row open", Ba);
            for (n = 0; n < 4; n = n + 1)
                at_least("tRP", n[1:0], precharge_at[n], tRP);
            if (init_refreshes < INIT_REFRESHES)
                break_rule("power-up order", Ba);
            if (Ba != 0 || Addr[12:10] != 0 || Addr[8:7] != 0
                    || (Addr[6:4] != 2 && Addr[6:4] != 3)
                    || (Addr[2:0] > 3 && (Addr[2:0] != 7 || Addr[3])))
                break_rule("mode register", Ba);
            if (CLOCK_PS < (Addr[6:4] == 2 ? tCK2 : tCK3))
                break_rule("tCK", Ba);
            length       = Addr[2:0];
            interleaved  = Addr[3];
            latency      = Addr[5:4];
            single_write = Addr[9];
            mode_at      = now;
            if (!set)
                refresh_by = now + (POSTPONED + 1) * tREFI;
            set          = 1;
        end
        REFRESH: begin
            if (opened != 0)
                break_rule("row open", Ba);
            for (n = 0; n < 4; n = n + 1)
                at_least("tRP", n[1:0], precharge_at[n], tRP);
            if (row_refreshed_at[refresh_row] != NEVER
                    && now - row_refreshed_at[refresh_row] > tREF)
                break_rule("tREF", Ba);
            row_refreshed_at[refresh_row] = now;
            refresh_row    = refresh_row + 1'b1;
            refresh_at     = now;
            init_refreshes = init_refreshes + 1;
            refreshes      = refreshes + 1;
            refreshing     = now + tRFC + tRCD + 3 * CLOCK_PS;
            if (set) begin
                refresh_by = refresh_by + tREFI;
                if (refresh_by > now + (POSTPONED + 1) * tREFI)
                    refresh_by = now + (POSTPONED + 1) * tREFI;
            end
        end
        PRECHARGE: begin
            if (Addr[10]) begin
                refreshing = now + tRP + tRFC;
                for (n = 0; n < 4; n = n + 1)
                    close(n[1:0]);
                closed_once = 1;
            end else
                close(Ba);
        end
        ACTIVE: begin
            if (opened[Ba])
                break_rule("row open", Ba);
            at_least("tRP", Ba, precharge_at[Ba], tRP);
            at_least("tRC", Ba, active_at[Ba], tRC);
            at_least("tRRD", Ba, any_active_at, RRD);
            opened[Ba]    = 1;
            row[Ba]       = Addr[ROW_BITS-1:0];
            active_at[Ba] = now;
            written_at[Ba] = NEVER;
            any_active_at = now;
        end
        READ, WRITE: begin
            use_row(Ba);
            running       = 1;
            refreshing    = 0;
            running_write = command == WRITE;
            burst_bank    = Ba;
            burst_column  = Addr[COL_BITS-1:0];
            burst_done    = 0;
            if (command == WRITE) begin
                // A read word needs a cycle to leave the pins.
                if (driving || drove)
                    break_rule("read to write", Ba);
                first_valid  = 0;
                second_valid = 0;
            end
        end
        STOP:
            running = 0;
        default: ;
        endcase

        // Move the word of this edge.
        if (running) begin
            moves       = !running_write;
            moves_write = running_write;
            block  = length == 7 ? {COL_BITS{1'b1}} : (1 << length) - 1;
            column = interleaved ? burst_column ^ burst_done
                                 : (burst_column & ~block) | ((burst_column + burst_done) & block);
            index  = {row[burst_bank], burst_bank, column[USED_COL_BITS-1:0]};
            if (index >= DEPTH || column >> USED_COL_BITS != 0)
                break_rule("outside", burst_bank);
            if ((running_write && single_write) || (length != 7 && burst_done == block))
                running = 0;
            burst_done = burst_done + 1'b1;
        end

        if (now < refreshing && !moves && !moves_write)
            refresh_cycles = refresh_cycles + 1;

        drove  = driving;
        drives = (latency == 2 ? first_valid : second_valid) && mask == 0 && !moves_write;
        driving <= drives;
        out     <= latency == 2 ? first : second;
        second_valid = first_valid;
        second       = first;
        first_valid  = moves;
        if (moves)
            first = words[index];
        if (moves_write) begin
            if ((^Dq) === 1'bx && Dqm == 0)
                break_rule("data undefined", burst_bank);
            for (n = 0; n < DQ_BITS / 8; n = n + 1)
                if (!Dqm[n])
                    words[index][8*n +: 8] = Dq[8*n +: 8];
            written_at[burst_bank] = now;
        end
        mask = Dqm;
    end
endmodule
