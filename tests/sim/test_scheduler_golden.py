import pytest

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.registers import (
    PROMPT_ALL,
    PROMPT_FRESH,
    PROMPT_SAMPLE,
    MessageKind,
    message,
)
from tern_fpga.sim.golden.scheduler import Scheduler, Step, parse_token, token_word


def scheduler(positions=4):
    return Scheduler(Config(positions=positions))


def prompt(slot, tokens, flags=0):
    return [message(MessageKind.PROMPT, slot, len(tokens) | flags), *tokens]


def send(s, *messages):
    for words in messages:
        for word in words if isinstance(words, list) else [words]:
            s.send(word)


def generate(s, slot, count):
    send(s, message(MessageKind.GENERATE, slot, count))


def told(s):
    words, s.tokens[:] = [parse_token(w) for w in s.tokens], []
    return words


def test_prompt_step_has_its_positions_and_flags():
    s = scheduler()
    send(s, prompt(2, [7, 8, 9], PROMPT_FRESH))
    assert s.next() == Step(live=0b0111, sample=0, chain=True, fresh=True, slot=2, last=2,
                            tokens=(7, 8, 9, 0))
    send(s, prompt(2, [5], PROMPT_SAMPLE))
    assert s.next() == Step(live=0b0001, sample=0b0001, chain=True, fresh=False, slot=2, last=0,
                            tokens=(5, 0, 0, 0))
    send(s, prompt(1, [1, 2, 3, 4], PROMPT_SAMPLE | PROMPT_ALL))
    assert s.next().sample == 0b1111
    send(s, prompt(1, [1, 2, 3, 4], PROMPT_ALL))
    assert s.next().sample == 0


def test_sampled_prompt_becomes_a_stream_until_its_count_is_used():
    s = scheduler()
    generate(s, 1, 3)
    send(s, prompt(1, [7, 8], PROMPT_SAMPLE))
    assert s.next().sample == 0b10                  # position 1: the prompt's last
    s.emit([99, 40, 99, 99])
    assert told(s) == [(1, False, 40)]
    assert s.next() == Step(live=0b10, sample=0b10, chain=False, fresh=False, slot=0, last=0,
                            tokens=(0, 40, 0, 0))
    s.emit([99, 41, 99, 99])
    assert s.next().tokens == (0, 41, 0, 0)
    s.emit([99, 42, 99, 99])
    assert told(s) == [(1, False, 41), (1, True, 42)]
    assert s.next() is None


def test_streams_run_together_and_prompts_go_first():
    s = scheduler()
    for slot in (0, 3):
        generate(s, slot, 10)
        send(s, prompt(slot, [slot], PROMPT_SAMPLE))
    for token in (20, 23):
        assert s.next().chain
        s.emit([token] * 4)
    assert s.next().live == 0b1001 and s.step.tokens == (20, 0, 0, 23)
    s.emit([30, 0, 0, 33])
    send(s, prompt(1, [5, 6]))
    assert s.next().chain and s.step.slot == 1      # before the running streams
    assert s.next().tokens == (30, 0, 0, 33)
    assert told(s) == [(0, False, 20), (3, False, 23), (0, False, 30), (3, False, 33)]


def test_part_of_a_prompt_holds_back_streams():
    s = scheduler()
    generate(s, 0, 9)
    send(s, prompt(0, [1], PROMPT_SAMPLE))
    s.next()
    s.emit([2] * 4)
    words = prompt(1, [3, 4])
    send(s, words[:2])
    assert s.next() is None
    send(s, words[2:])
    assert s.next().slot == 1
    assert not s.next().chain


def test_stop_token_ends_any_stream():
    s = scheduler()
    send(s, message(MessageKind.STOP_TOKEN, 0, 2))
    generate(s, 0, 9)
    send(s, prompt(0, [1], PROMPT_SAMPLE))
    s.next()
    s.emit([2] * 4)
    assert told(s) == [(0, True, 2)]
    assert s.next() is None


def test_stop_ends_a_stream_before_its_next_step():
    s = scheduler()
    generate(s, 0, 9)
    send(s, prompt(0, [1], PROMPT_SAMPLE))
    s.next()
    s.emit([2] * 4)
    send(s, message(MessageKind.STOP, 0))
    assert s.next() is None


def test_sampling_without_a_count_is_one_last_token():
    s = scheduler()
    send(s, prompt(0, [1], PROMPT_SAMPLE))
    s.next()
    s.emit([5] * 4)
    assert told(s) == [(0, True, 5)]
    assert s.next() is None


def test_all_reports_every_position_and_counts_one():
    s = scheduler()
    generate(s, 3, 2)
    send(s, prompt(3, [1, 1, 1], PROMPT_SAMPLE | PROMPT_ALL))
    s.next()
    s.emit([10, 11, 12, 13])
    assert told(s) == [(3, False, 10), (3, False, 11), (3, False, 12)]
    assert s.next().tokens == (0, 0, 0, 12)
    s.emit([0, 0, 0, 9])
    assert told(s) == [(3, True, 9)]


def test_token_words_round_trip():
    for fields in [(0, False, 0), (15, True, (1 << 24) - 1), (7, False, 31999)]:
        assert parse_token(token_word(*fields)) == fields
    assert token_word(1, True, 5) == 1 << 28 | registers.TOKEN_LAST | 5


def test_unknown_messages_are_ignored_and_bad_ones_refused():
    s = scheduler(2)
    send(s, 0, 0xf0000000)
    assert s.next() is None
    for word, match in [(message(MessageKind.PROMPT, 0, 0), "1 to 2 tokens, not 0"),
                        (message(MessageKind.PROMPT, 0, 3), "1 to 2 tokens, not 3"),
                        (message(MessageKind.GENERATE, 2, 1), "slot must be below 2")]:
        s.send(word)
        with pytest.raises(ValueError, match=match):
            s.next()
