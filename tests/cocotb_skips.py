"""A bench that leaves something out; see test_not_run.py."""

import cocotb


@cocotb.test()
async def it_runs(dut):
    pass


@cocotb.test(skip=True)
async def it_does_not(dut):
    raise AssertionError
