"""One test on all mutants that it can meet: ``python -m tests.mutation.worker FOLDER NODE``.

Reads from FOLDER ``mutants.json`` and ``wanted.json`` (their numbers); writes a JSON list to
standard output for whatever happens: ``["start", n]``, ``["end", n, failed]``, and after the run
without a mutant ``["present", [n, ...]]``.
"""

import json
import os
from pathlib import Path
import sys

from tests.mutation.mutants import Mutant
from tests.mutation.running import Mutated, Session


def main(folder, node):
    folder   = Path(folder)
    mutants  = [Mutant(**each) for each in json.loads((folder / "mutants.json").read_text())]
    wanted   = json.loads((folder / "wanted.json").read_text())
    # What tests print is not ours.
    channel  = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(*words):
        channel.write(json.dumps(words) + "\n")
        channel.flush()

    with Mutated(mutants, folder / "selected") as hardware:
        def numbers():
            say("start", 0)
            yield 0
            there = [n for n in wanted if mutants[n - 1] in hardware.present]
            say("present", there)
            for n in there:
                say("start", n)
                yield n

        session = Session(node, hardware, numbers(),
                          lambda number, failed: say("end", number, failed))
        return not session.run()


if __name__ == "__main__":
    os.environ["COCOTB_MAX_FAILURES"] = "1"
    sys.exit(main(*sys.argv[1:]))
