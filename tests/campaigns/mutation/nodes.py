"""Machines that mutants are chosen in, and the tests of ``make test`` that look for them.

Tests stand in the order in which they are tried. Each of them runs on hardware that has the mutants
of all blocks that it contains. A program on a whole core comes first: it is built once and runs
fast. What it lets through is for the benches of blocks, then for other tests of whole cores.
"""

from amaranth.back import rtlil

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.sdram_parts import part
from tern_fpga.hw.memory.crossing import FastSdram
from tern_fpga.hw.soc import Soc


__all__ = ["CONFIG", "NODES", "netlists"]


# All units, more than one of what there may be many of, and otherwise small.
CONFIG = Config(memory_bytes=1 << 16, lanes=20, positions=2, vector_lanes=2, registers=64,
                register_elements=16, code_registers=16, accumulator_rows=32,
                prefetch_words=64, program_words=256)


def netlists():
    """Texts of the netlists that have every block of ``hw`` that gets onto a board."""
    blocks = {"soc": Soc(config=CONFIG, clock_hz=100_000_000, baud=25_000_000, name="mutants"),
              "sdram": FastSdram(config=CONFIG, memory_bits=16, part=part("AS4C32M16SB-7"),
                                 clock_mhz=133)}
    return [rtlil.convert(block, name=name) for name, block in blocks.items()]


NODES = """
    campaigns/test_random_programs.py::test_at_full_speed[1-narrow]
    hw/test_unpacker.py::test_rtl_equals_golden[40-2-icarus]
    hw/test_accumulate.py::test_rtl_equals_golden[10-8-1-icarus]
    hw/test_accumulate.py::test_rtl_equals_golden[20-1-2-icarus]
    hw/test_divide.py::test_rtl_equals_golden[12-6-verilator]
    hw/test_activation.py::test_rtl_equals_golden[12-6-verilator]
    hw/test_exact_sum.py::test_sum_of_squares_equals_golden[8-5-2-False-verilator]
    hw/test_exact_sum.py::test_largest_magnitude_equals_golden[12-6-4-verilator]
    hw/test_float.py::test_rtl_equals_golden[12-6-24-1-verilator]
    hw/test_float.py::test_rtl_equals_golden[17-7-9-1-verilator]
    hw/test_float.py::test_rtl_equals_golden[24-8-32-1-verilator]
    hw/test_gearbox.py::test_gearbox[verilator]
    hw/test_gumbel.py::test_rtl_equals_golden[verilator]
    hw/test_uart.py::test_bytes[65000000-12000000-60-verilator]
    hw/test_host.py::test_registers_do_as_their_table_says[verilator]
    hw/test_memory.py::test_arbiter[clients0-16-verilator]
    hw/test_weights.py::test_weights[16-20-64-verilator]
    hw/test_operands.py::test_slots_are_the_registers_of_the_instruction[shape0-verilator]
    hw/test_crossing.py::test_crossing[32-16-periods0-verilator]
    hw/test_scheduler.py::test_rtl_equals_golden[2-verilator]
    hw/test_sampler.py::test_rtl_equals_golden[8-2-verilator]
    hw/test_draw.py::test_rtl_equals_golden[shape2-seeds2-4-verilator]
    hw/test_drain.py::test_rtl_equals_golden[shape0-1-verilator]
    hw/test_drain.py::test_rtl_equals_golden[shape1-2-verilator]
    hw/test_drain.py::test_rtl_equals_golden[shape2-3-verilator]
    hw/test_vector_memory.py::test_vector_memory[small-verilator]
    hw/test_vector_memory.py::test_vector_memory[sliced-verilator]
    hw/test_transfer.py::test_transfer[narrow-verilator]
    hw/test_transfer.py::test_transfer[usual-verilator]
    hw/test_array.py::test_rtl_equals_golden[shape1-seeds1-verilator]
    hw/test_sequencer.py::test_program_runs_in_dependence_order[shape1-seeds1-verilator]
    hw/test_vector.py::test_rtl_equals_golden[2-1-12-6-1-verilator]
    hw/test_vector.py::test_rtl_equals_golden[4-8-17-7-1-verilator]
    hw/test_activation.py::test_rtl_equals_golden[18-6-verilator]
    hw/test_divide.py::test_rtl_equals_golden[24-8-verilator]
    hw/test_exact_sum.py::test_sum_of_squares_equals_golden[24-8-8-True-verilator]
    hw/test_uart.py::test_bytes[12000000-115200-5-verilator]
    hw/test_memory.py::test_arbiter[clients1-128-verilator]
    hw/test_weights.py::test_weights[64-80-1024-verilator]
    hw/test_crossing.py::test_crossing[64-16-periods2-verilator]
    hw/test_scheduler.py::test_rtl_equals_golden[8-verilator]
    hw/test_vector_memory.py::test_vector_memory[wide-verilator]
    hw/test_transfer.py::test_transfer[broad-verilator]
    hw/test_array.py::test_rtl_equals_golden[shape3-seeds3-verilator]
    hw/test_sequencer.py::test_program_runs_in_dependence_order[shape2-seeds2-verilator]
    hw/test_counters.py::test_idle_memory_says_why
    hw/test_link.py::test_board_answers_like_its_twin[narrow-verilator]
    hw/test_sdram.py::test_rate_and_data[AS4C32M16SB-7-100-2]
    hw/test_sdram.py::test_the_core_makes_the_same_tokens_from_an_sdram[config1-133.33333333333334]
    campaigns/test_random_programs.py::test_at_full_speed[1-crowd]
    campaigns/test_random_programs.py::test_at_full_speed[2-crowd]
    sim/test_lockstep.py::test_all_registers_after_every_instruction[wide]
    sim/test_lockstep.py::test_streams_join_and_leave[1]
    hw/test_counters.py::test_groups_add_up_and_work_is_the_golden_machines[fast]
    sim/test_rtl.py::test_a_stopped_core_starts_as_a_fresh_one[slow]
    sim/test_sampling.py::test_streams_on_the_core
    firmware/test_board.py::test_a_conversation_goes_on_while_memory_is_read_and_written
    firmware/test_board.py::test_stop_in_the_middle_and_start_again
    firmware/test_board.py::test_a_reset_board_says_so
    firmware/test_board.py::test_noise_ends_well_or_with_an_error[100]
    hw/test_soc.py::test_a_request_lights_active_for_a_while
""".split()
