"""What the benches rely on notices: the check of a stream's rule, and what runs beside a test."""

import pytest

from tests.verilog import over_simulators, run_verilog


# An offer of a count: held until taken; counted on while it waits; taken back; and never made.
KINDS = {"held": 0, "changed": 1, "dropped": 2, "none": 3}
DUT = """
module dut(input clk, input rst, input [1:0] kind,
           output [7:0] o__payload, output o__valid, input o__ready);
    reg [7:0] count;
    always @(posedge clk)
        if (rst) count <= 0;
        else if (kind == 2 || o__ready || (kind == 1 && count < 5)) count <= count + 1;
    assign o__payload = count;
    assign o__valid   = kind < 2 || (kind == 2 && count < 4);
endmodule
"""


def bench(simulator, kind, only):
    run_verilog({"dut.v": DUT}, "dut", "cocotb_checks", simulator, only=only, kind=KINDS[kind])


@over_simulators
def test_a_stream_that_holds_its_offers_passes(simulator):
    bench(simulator, "held", "offers_are_held")


@over_simulators
@pytest.mark.parametrize("kind", ["changed", "dropped"])
def test_an_offer_that_changes_before_it_is_taken_fails(simulator, kind):
    with pytest.raises(pytest.fail.Exception, match="1 of 1 failed"):
        bench(simulator, kind, "offers_are_held")


def test_a_stream_that_never_offers_fails():
    with pytest.raises(pytest.fail.Exception, match="1 of 1 failed"):
        bench("verilator", "none", "an_offer_comes")


@pytest.mark.parametrize("only", ["it_does_not", "no_such_test"])
def test_a_bench_that_leaves_something_out_fails(only):
    bench("verilator", "held", "it_runs")
    with pytest.raises(pytest.fail.Exception, match="cocotb_checks on verilator"):
        bench("verilator", "held", only)
