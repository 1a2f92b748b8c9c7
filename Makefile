# make study    install into .venv and answer the first question: studies/softmax_variants.yaml
# make test     install with the test extras; linter, types, tests (under 10 minutes on 2 cores)
# make test-services, make test-long     the tests that start servers; those that compile, build and measure for real
# make mutants  put faults into copies of the sources, one at a time, and see that the tests notice each (MUTANTS='clip 3 17-20': some)
# make bounds   install every dependency at its lower bound into .venv-bounds, and try what tunemax does (BOUNDS=torch: all but torch)
# make rl       train small agents, tune what they have to beat, and compare them (under 10 minutes on 2 cores)
# make rl-results  make what docs/rl_results.md publishes (within an hour and a half on 2 cores); cut short, it goes on where it was
# make text-gigabyte  make a gigabyte of text into tokens, in less than a gigabyte of memory (half an hour of a core)
# make clean    remove what the two installed and built; studies' databases and runs stay
#
# PYTHON: the interpreter that .venv is made from, 3.11 or later.
PYTHON ?= python3
# Two processes; neighbours in a file stay in one of them, and share what takes long to make
PYTEST_ARGS ?= -n 2 --dist worksteal
MUTANTS ?=
BOUNDS ?=

BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check

.PHONY: study rl rl-results test test-services test-long text-gigabyte mutants bounds clean

study: .venv/installed
	$(BIN)/tunemax study run studies/softmax_variants.yaml
	@printf '%s\n' '' 'Next (after `. .venv/bin/activate`, which puts tunemax on the path):' \
	  '  tunemax report softmax_variants        # a page that works offline' \
	  '  tunemax dashboard                      # every trial in a browser' \
	  '  tunemax study best softmax_variants    # the winner, and the command that trains it' \
	  '  tunemax study files                    # more questions, each run by its name'

# A learning rate that starts wrong, in trainings of four sizes, each of a second: agents learn to mend it, and what is tuned for the same
# price puts all of them to one value. Fewer than five seeds and as many tunings get no verdict. RL_JOBS at once: what they train is one thread.
RL_SCENE = --env MixedWidths-v1 --horizon 80 --frame-skip 8 --set block_size=16 --set batch_size=4
RL = $(BIN)/tunemax rl
RL_SEEDS ?= 1 2 3 4 5
RL_JOBS ?= 2
RL_EACH = xargs -P $(RL_JOBS) -I EACH

rl: .venv/installed
	@mkdir -p runs
	printf '%s\n' $(RL_SEEDS) | $(RL_EACH) $(RL) train $(RL_SCENE) --algo sac --seed EACH --steps 1600 --storage runs/rl.db
	printf '%s\n' constant spline | $(RL_EACH) $(RL) tune $(RL_SCENE) --policy EACH --tunings $(words $(RL_SEEDS)) --storage runs/rl.db
	$(RL) headroom $(RL_SCENE) --storage runs/rl.db
	$(RL) evaluate $(RL_SCENE) --instances 32 --storage runs/rl.db

# Three algorithms and what they have to beat, eight times each, on two ids. Every line is a command of its own; those of which nothing is
# left to do end at once.
RESULTS_WIDTHS = --env MixedWidths-v1 --horizon 60 --frame-skip 4 --set n_layer=1 --set block_size=16 --set batch_size=4
RESULTS_UNSCHEDULED = --env Unscheduled-v1
RESULTS_RUNS = 1 2 3 4 5 6 7 8
RESULTS_TUNINGS = 8
RESULTS_INSTANCES = 128
RESULTS_HEADROOM = --instances 64 --member-steps 166000
RESULTS_EACH = for scene in '$(RESULTS_WIDTHS)' '$(RESULTS_UNSCHEDULED)'; do
RESULTS_DO = --storage runs/rl_results.db; done
RESULTS_AT_ONCE = xargs -P $(RL_JOBS) -L 1 $(RL)

rl-results: .venv/installed
	@mkdir -p runs
	for seed in $(RESULTS_RUNS); do for algo in tqc sac ppo; do $(RESULTS_EACH) \
	  echo train $$scene --algo $$algo --seed $$seed --steps 2400 $(RESULTS_DO); done; done | $(RESULTS_AT_ONCE)
	for policy in constant spline; do $(RESULTS_EACH) \
	  echo tune $$scene --policy $$policy --tunings $(RESULTS_TUNINGS) $(RESULTS_DO); done | $(RESULTS_AT_ONCE)
	$(RESULTS_EACH) echo headroom $$scene $(RESULTS_HEADROOM) $(RESULTS_DO) | $(RESULTS_AT_ONCE)
	$(RESULTS_EACH) echo evaluate $$scene --instances $(RESULTS_INSTANCES) $(RESULTS_DO) | $(RESULTS_AT_ONCE)

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not services and not long" $(PYTEST_ARGS)

test-services: .venv/installed-test
	$(BIN)/python -m pytest -m services $(PYTEST_ARGS)

test-long: .venv/installed-test
	$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

text-gigabyte: .venv/installed-test
	nice $(BIN)/python benchmarks/tokens.py --size 1000 --within 1000 byte bpe

mutants: .venv/installed-test
	$(BIN)/python tests/mutants.py $(MUTANTS)

bounds: .venv/installed-test
	$(BIN)/python tests/bounds.py $(BOUNDS)

# The stamps are older than their sources exactly if the pins or the dependencies have changed since. setuptools comes first,
# from the same pins, so that the build of tunemax itself needs nothing else.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("tunemax needs Python 3.11 or later; %s is %d.%d: make PYTHON=python3.11" % ("$(PYTHON)", sys.version_info[0], sys.version_info[1]) if sys.version_info < (3, 11) else 0)'
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(PIP) install --constraint constraints.txt setuptools
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv .venv-bounds build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find gpt envs search tests -name __pycache__ -type d -prune -exec rm -rf {} +
