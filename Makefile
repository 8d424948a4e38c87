# The two commands of a newcomer are `make demo` and `make test`; both install what they need into .venv.

VENV := .venv
BIN := $(VENV)/bin
# uv lives apart: syncing the lock would remove it from the environment that it syncs.
UV := .cache/uv/bin/uv
# An offline wheel folder that pip is told of is told to uv too; elsewhere the CPU build of torch comes
# from PyTorch's own index.
SOURCES := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu)

export RAY_USAGE_STATS_ENABLED := 0
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

# Client libraries that tests drive. They want versions of their own, so they have environments of their own.
CLIENTS := .cache/clients

.PHONY: demo test test-unit test-system test-faults test-image test-cluster test-cluster-nightly fuzz test-fast check bench-heads soak install clients lock manifests format clean

demo: install
	$(BIN)/hydra-ray demo

# The parts are processes of their own: a cluster that some tests leave running is not there for the others.
test: test-unit test-system test-faults test-image test-cluster

# Without Ray's cluster. Its tensors are so small that a second thread costs more than it brings: a process for each core
# brings more, up to what 8 GB hold.
test-unit: export HYDRA_RAY_FUZZ := 1500
test-unit: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --durations=15 --durations-min=10 tests/unit

# One Ray cluster for all of it. What takes long is named.
test-system: install clients
	$(BIN)/python -m pytest --durations=25 --durations-min=15 tests/ray tests/e2e tests/clients

# Real processes and real kills, in a cluster of their own.
test-faults: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=25 --durations-min=15 tests/faults

# What the CPU image holds, installed into a bare folder; its demo has a cluster of its own.
test-image: install
	$(BIN)/python -m pytest --durations=3 tests/image

# Clusters of several nodes on this machine, one at a time; nodes are killed. Where the machine gives no network
# namespaces the tests are skipped and say so.
test-cluster: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not nightly" --durations=25 --durations-min=15 tests/cluster

# What takes too long for every change: commands that learn, on nodes one of which is killed; new configs, and the head.
test-cluster-nightly: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m nightly --durations=0 tests/cluster

# Random requests, other ones each time, through the application in one process: nothing may be answered by a 5xx.
fuzz: export HYDRA_RAY_FUZZ := 10000
fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/unit/serve/test_fuzzed_requests.py

# What needs neither Ray nor torch, before every commit.
test-fast: install
	$(BIN)/python -m pytest --fast -rfE tests/unit

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Threads that wait by spinning would make the times those of whatever else runs.
bench-heads: export OMP_WAIT_POLICY := PASSIVE
bench-heads: install
	$(BIN)/python benchmarks/heads.py
	$(BIN)/python benchmarks/fit.py

# 20,000 requests, to a server that is up on this machine where it is named: `make soak URL=http://127.0.0.1:8000/v1`.
URL :=
soak: install
	$(BIN)/python benchmarks/soak.py $(URL)

# k8s/ is what this writes of deployments/ and of the profiles in hydra_ray/k8s/settings/; a test compares them.
manifests: install
	for profile in openai gpu cluster dev; do $(BIN)/hydra-ray k8s render --profile $$profile --out k8s/$$profile || exit; done

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed

# Bytecode is compiled here, once, and not by the first of each process that Ray starts.
$(VENV)/.installed: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python python3 $(VENV)
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python $(SOURCES) requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

clients: $(CLIENTS)/python/.installed $(CLIENTS)/node/.installed

$(CLIENTS)/python/.installed: tests/clients/requirements.txt | $(UV)
	$(UV) venv --quiet --allow-existing --python python3 $(CLIENTS)/python
	$(UV) pip sync --quiet --python $(CLIENTS)/python/bin/python $(SOURCES) tests/clients/requirements.txt
	touch $@

# Where there is no Node, its clients' tests are skipped and say so.
$(CLIENTS)/node/.installed: tests/clients/node/package.json tests/clients/node/package-lock.json
	mkdir -p $(CLIENTS)/node
	cp $^ $(CLIENTS)/node
	if npm --prefix $(CLIENTS)/node ci --ignore-scripts --no-audit --no-fund; then touch $@; \
	else echo "Node's clients are not installed: that needs Node 20, npm and npm's registry"; fi

$(UV):
	python3 -m venv .cache/uv
	.cache/uv/bin/pip install --quiet --disable-pip-version-check uv

# overrides.txt leaves out what does not load beside the CPU build of torch; nothing here needs it. The CPU image has the
# versions that the tests have run with. The GPU image's differ where vLLM for GPUs wants others. Both are for Linux on
# x86-64 wherever they are made.
IMAGE := --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-find-links \
    --custom-compile-command "make lock"
lock: | $(UV)
	$(UV) pip compile --quiet --upgrade --python-version 3.11 --extra dev --override overrides.txt $(SOURCES) \
	    --no-emit-find-links --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --upgrade --python-version 3.11 $(SOURCES) --no-annotate \
	    --no-emit-find-links --custom-compile-command "make lock" \
	    --output-file tests/clients/requirements.txt tests/clients/requirements.in
	$(UV) pip compile --quiet --upgrade $(IMAGE) --extra faiss-cpu --extra onnx --extra postgres --extra traces \
	    --override overrides.txt --constraint requirements.lock $(SOURCES) --output-file docker/cpu.lock pyproject.toml
	$(UV) pip compile --quiet --upgrade $(IMAGE) --extra faiss-gpu --extra vllm-gpu --extra postgres --extra traces \
	    --output-file docker/gpu.lock pyproject.toml
	$(UV) pip compile --quiet --upgrade $(IMAGE) --generate-hashes --no-annotate \
	    --output-file docker/build.lock docker/build.in

clean:
	rm -rf $(VENV) .cache runs
