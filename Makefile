# Two commands for a bare machine with Python (3.11 to 3.13, with venv) and make:
#   make demo   makes a dataset, trains AOD-Net on it, measures it, and says where to look
#   make test   lint, types and the whole test suite
# and one for a machine with an NVIDIA GPU:
#   make gpu-check   a short training in each precision, against the CPU's
PYTHON ?= python3
BIN := .venv/bin
DEMO := build/demo

.PHONY: demo test gpu-check install clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/hazegen samples --out $(DEMO)/scenes --scenes 48 --seed 0
	$(BIN)/hazegen make --images $(DEMO)/scenes/images --depth $(DEMO)/scenes/depth --camera $(DEMO)/scenes/camera \
		--out $(DEMO)/dataset --maps \
		--recipe outdoor-visibility --recipe.visibility-m 'log-uniform(20, 400)'
	$(BIN)/hazegen verify $(DEMO)/dataset
	$(BIN)/hazegen preview $(DEMO)/dataset --out $(DEMO)/preview.png
	$(BIN)/aodnet fit --data $(DEMO)/dataset --out $(DEMO)/run --config demo --wandb offline
	$(BIN)/aodnet evaluate --model $(DEMO)/run/best.weights.h5 --data $(DEMO)/dataset --out $(DEMO)/evaluation
	@echo
	@echo "Look at:"
	@echo "  $(DEMO)/preview.png             clean, transmission, hazy"
	@echo "  $(DEMO)/run/curves.png          the training"
	@echo "  $(DEMO)/run/validation/         hazy, restored, clean after each epoch"
	@echo "  $(DEMO)/evaluation/strip.png    best, median and worst test image beside the baselines"
	@echo "  $(DEMO)/evaluation/table.md     the table above"

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# The CUDA libraries come from the extra 'gpu'; without a GPU the CPU's row alone is measured.
gpu-check: .venv/installed
	if command -v nvidia-smi > /dev/null; then $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,gpu]'; fi
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf build .venv
