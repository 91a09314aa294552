// Models of the ECP5 cells that Yosys leaves as black boxes: block RAM and multiplier, with the
// features that synth_ecp5 uses. Sources: its maps (share/lattice/brams_map_16kd.v,
// dsp_map_18x18.v), and Lattice's FPGA-TN-02204 (memory) and FPGA-TN-02205 (DSP). Features without
// a model are refused.

// 1024 words of 18 bits. A port of width w reads and writes w bits. A port of width 36 accesses the
// words 2k (on the pins of port A) and 2k + 1 (on the pins of port B). An address counts bits;
// narrow ports use 8 of each 9 bits. From width 18 on, its low bits are byte enables of a write.
// The chip leaves undefined what a port reads in the cycle in which the other port writes it; this
// model returns the inverted bits.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18,
    parameter [63:0] REGMODE_A = "NOREG", parameter [63:0] REGMODE_B = "NOREG",
    parameter [63:0] RESETMODE = "SYNC", parameter [63:0] ASYNC_RESET_RELEASE = "SYNC",
    parameter [63:0] CSDECODE_A = "0b000", parameter [63:0] CSDECODE_B = "0b000",
    parameter [127:0] WRITEMODE_A = "NORMAL", parameter [127:0] WRITEMODE_B = "NORMAL",
    parameter [63:0] CLKAMUX = "CLKA", parameter [63:0] CLKBMUX = "CLKB",
    parameter [63:0] GSR = "ENABLED",
    parameter [319:0]
        INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0,
        INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0,
        INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0,
        INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0,
        INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0, INITVAL_18 = 0,
        INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0,
        INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0,
        INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0,
        INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0,
        INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0, INITVAL_30 = 0, INITVAL_31 = 0,
        INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0,
        INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0,
        INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
    input wire
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
        DIA4, DIA3, DIA2, DIA1, DIA0, ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5,
        ADA4, ADA3, ADA2, ADA1, ADA0, CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0, DIB17,
        DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0, ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4,
        ADB3, ADB2, ADB1, ADB0, CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output wire
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
        DOA4, DOA3, DOA2, DOA1, DOA0, DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10,
        DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    localparam [64*320-1:0] INIT = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39,
        INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
        INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B,
        INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
        INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D,
        INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
        INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
        INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
        INITVAL_00};

    reg [17:0] words [0:1023];
    integer n;
    initial begin
        for (n = 0; n < 1024; n = n + 1)
            words[n] = INIT[320 * (n / 16) + 20 * (n % 16) +: 18];
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000" || CLKAMUX != "CLKA"
            || CLKBMUX != "CLKB")
            $fatal(1, "DP16KD: a mode that the model lacks");
    end

    wire [17:0] dia = {
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
        DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] dib = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
        DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [13:0] ada = {
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] adb = {
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};

    // The lowest bit that a narrow port addresses in a word.
    function automatic [4:0] offset(input integer width, input [13:0] address);
        case (width)
            9:       offset = address[3] ? 5'd9 : 5'd0;
            4:       offset = (address[3] ? 5'd9 : 5'd0) + {2'd0, address[2], 2'd0};
            2:       offset = (address[3] ? 5'd9 : 5'd0) + {2'd0, address[2:1], 1'd0};
            1:       offset = (address[3] ? 5'd9 : 5'd0) + {2'd0, address[2:0]};
            default: offset = 5'd0;
        endcase
    endfunction

    // Mask of the bits that a write changes, of the low (or only) word and of the high word.
    function automatic [35:0] changed(input integer width, input [13:0] address);
        if (width == 36)
            changed = {{9{address[3]}}, {9{address[2]}}, {9{address[1]}}, {9{address[0]}}};
        else if (width == 18)
            changed = {18'd0, {9{address[1]}}, {9{address[0]}}};
        else
            changed = ((36'd1 << width) - 36'd1) << offset(width, address);
    endfunction

    localparam [9:0] ODD_A = DATA_WIDTH_A == 36, ODD_B = DATA_WIDTH_B == 36;
    wire [9:0]  row_a  = ada[13:4] & ~ODD_A,   row_b  = adb[13:4] & ~ODD_B;
    wire [35:0] mask_a = WEA && CEA ? changed(DATA_WIDTH_A, ada) : 36'd0;
    wire [35:0] mask_b = WEB && CEB ? changed(DATA_WIDTH_B, adb) : 36'd0;
    wire [35:0] data_a = {dib, dia} << offset(DATA_WIDTH_A, ada);
    wire [35:0] data_b = (DATA_WIDTH_B == 36 ? {dib, dia} : {18'd0, dib})
                         << offset(DATA_WIDTH_B, adb);

    // Mask of the bits in this port's word that the other port writes.
    function automatic [17:0] hit(input [9:0] row, input [9:0] other, input [35:0] mask,
                                  input wide);
        hit = (row == other ? mask[17:0] : 18'd0)
              | (wide && row == (other | 10'd1) ? mask[35:18] : 18'd0);
    endfunction

    reg [35:0] out_a = 0, out_b = 0;
    reg [35:0] late_a = 0, late_b = 0;      // output registers, with OUTREG
    reg [35:0] now_a, now_b;
    always @(posedge CLKA) begin
        now_a = {words[row_a | 10'd1] ^ hit(row_a | 10'd1, row_b, mask_b, ODD_B[0]),
                 words[row_a] ^ hit(row_a, row_b, mask_b, ODD_B[0])};
        if (WRITEMODE_A == "WRITETHROUGH")
            now_a = (now_a & ~mask_a) | (data_a & mask_a);
        if (CEA && !(WEA && WRITEMODE_A == "NORMAL"))
            out_a <= now_a >> offset(DATA_WIDTH_A, ada);
        if (RSTA)
            out_a <= 0;
        else begin
            if (mask_a[17:0] != 0)
                words[row_a] <= (words[row_a] & ~mask_a[17:0]) | (data_a[17:0] & mask_a[17:0]);
            if (mask_a[35:18] != 0)
                words[row_a | 10'd1] <= (words[row_a | 10'd1] & ~mask_a[35:18])
                                        | (data_a[35:18] & mask_a[35:18]);
        end
        if (OCEA)
            late_a <= out_a;
        if (RSTA && (RESETMODE != "SYNC" || REGMODE_A != "NOREG"))
            $fatal(1, "DP16KD: a reset that the model lacks");
    end
    always @(posedge CLKB) begin
        now_b = {words[row_b | 10'd1] ^ hit(row_b | 10'd1, row_a, mask_a, ODD_A[0]),
                 words[row_b] ^ hit(row_b, row_a, mask_a, ODD_A[0])};
        if (WRITEMODE_B == "WRITETHROUGH")
            now_b = (now_b & ~mask_b) | (data_b & mask_b);
        if (CEB && !(WEB && WRITEMODE_B == "NORMAL"))
            out_b <= now_b >> offset(DATA_WIDTH_B, adb);
        if (RSTB)
            out_b <= 0;
        else begin
            if (mask_b[17:0] != 0)
                words[row_b] <= (words[row_b] & ~mask_b[17:0]) | (data_b[17:0] & mask_b[17:0]);
            if (mask_b[35:18] != 0)
                words[row_b | 10'd1] <= (words[row_b | 10'd1] & ~mask_b[35:18])
                                        | (data_b[35:18] & mask_b[35:18]);
        end
        if (OCEB)
            late_b <= out_b;
        if (RSTB && (RESETMODE != "SYNC" || REGMODE_B != "NOREG"))
            $fatal(1, "DP16KD: a reset that the model lacks");
    end

    wire [35:0] shown_a = REGMODE_A == "OUTREG" ? late_a : out_a;
    wire [35:0] shown_b = REGMODE_B == "OUTREG" ? late_b : out_b;

    // The low half of a 36-bit port is on the pins of port A.
    assign {
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
        DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? shown_b[17:0] : shown_a[17:0];
    assign {
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
        DOB4, DOB3, DOB2, DOB1, DOB0} = DATA_WIDTH_B == 36 ? shown_b[35:18] : shown_b[17:0];
endmodule


// The product, and its output register.
module MULT18X18D #(
    parameter [63:0] REG_INPUTA_CLK = "NONE", parameter [63:0] REG_INPUTB_CLK = "NONE",
    parameter [63:0] REG_PIPELINE_CLK = "NONE", parameter [63:0] REG_OUTPUT_CLK = "NONE"
) (
    input wire
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0, B17,
        B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0, C17, C16,
        C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0, SIGNEDA, SIGNEDB,
        SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output wire
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
        P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire [17:0] a = {
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire signed [18:0] wide_a = {SIGNEDA & A17, a}, wide_b = {SIGNEDB & B17, b};
    wire signed [37:0] product = wide_a * wide_b;
    reg [35:0] late = 0;
    always @(posedge CLK0)
        if (RST0) late <= 0;
        else if (CE0) late <= product[35:0];
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
        P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
    } = REG_OUTPUT_CLK == "CLK0" ? late : product[35:0];

    initial
        if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_PIPELINE_CLK != "NONE"
            || (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0"))
            $fatal(1, "MULT18X18D: registers that the model lacks");
endmodule
