"""One test on all mutants that it can meet.

    python -m tests.campaigns.mutation.worker FOLDER NODE

Reads from FOLDER ``mutants.json`` and ``wanted.json`` (their numbers); writes a JSON list to
standard output for whatever happens: ``["start", n]``, ``["end", n, failed]``, and after the run
without a mutant ``["present", [n, ...]]``.
"""

import json
import os
from pathlib import Path
import signal
import sys
import time

from tests.campaigns.mutation.mutants import Mutant
from tests.campaigns.mutation.running import Mutated, Session


LEAST_SECONDS = 20              # of this process that a test may take, and so many times what it
LONGER        = 10              # takes without a mutant


def main(folder, node):
    folder   = Path(folder)
    mutants  = [Mutant(**each) for each in json.loads((folder / "mutants.json").read_text("utf-8"))]
    wanted   = json.loads((folder / "wanted.json").read_text(encoding="utf-8"))
    # What tests print is not ours.
    channel  = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(*words):
        channel.write(json.dumps(words) + "\n")
        channel.flush()

    with Mutated(mutants, folder / "selected") as hardware:
        def numbers():
            say("start", 0)
            begun = time.process_time()
            yield 0
            limit = max(LEAST_SECONDS, LONGER * (time.process_time() - begun))
            there = [n for n in wanted if mutants[n - 1] in hardware.present]
            say("present", there)
            for n in there:
                say("start", n)
                # The signal ends this process, whatever it is doing.
                signal.setitimer(signal.ITIMER_PROF, limit)
                yield n
                signal.setitimer(signal.ITIMER_PROF, 0)

        session = Session(node, hardware, numbers(),
                          lambda number, failed: say("end", number, failed))
        return not session.run()


if __name__ == "__main__":
    os.environ["COCOTB_MAX_FAILURES"] = "1"
    sys.exit(main(*sys.argv[1:]))
