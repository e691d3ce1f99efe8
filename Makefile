# Two commands for a bare machine with Python (3.11 to 3.13, with venv) and make:
#   make demo   makes a dataset, trains AOD-Net on it, measures it, and says where to look
#   make test   lint, types and the whole test suite
# and one for a machine with an NVIDIA GPU:
#   make gpu-check   a short training in each precision, against the CPU's
PYTHON ?= python3
BIN := .venv/bin
DEMO := build/demo

.PHONY: demo test test-browser gpu-check install clean

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
	@echo "  $(DEMO)/preview.png               clean, transmission, hazy"
	@echo "  $(DEMO)/dataset/card.html         what the dataset is, in the browser"
	@echo "  $(DEMO)/run/report.html           the training: curves, pictures epoch by epoch"
	@echo "  $(DEMO)/evaluation/report.html    the test: figures beside the baselines, best and worst pictures"
	@echo "  $(DEMO)/evaluation/table.md       the table above"
	@echo "then: $(BIN)/aodnet demo, a page to try it on pictures of your own"

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# The demo in a real browser: Debian's Chromium (installed with apt-get where it is missing), and the driver that runs
# it. HAZEGEN_SCREENSHOTS=FOLDER keeps pictures of the pages.
test-browser: .venv/installed
	command -v chromium > /dev/null || { apt-get update && apt-get install --yes --no-install-recommends chromium; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev,demo,browser]'
	$(BIN)/pytest tests/test_demo_browser.py

# The CUDA libraries come from the extra 'gpu'; without a GPU the CPU's row alone is measured.
gpu-check: .venv/installed
	if command -v nvidia-smi > /dev/null; then $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,gpu]'; fi
	$(BIN)/python benchmarks/gpu.py

# The pages of docs/ and the reference from the docstrings, as HTML in build/docs; a warning makes it fail.
.PHONY: docs
docs: .venv/installed
	$(BIN)/python docs/build.py

clean:
	rm -rf build .venv
