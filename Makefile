# make demo: set up and serve the app.  make test: set up and run every check.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name))))
BIN := .venv/bin
READY := .venv/has-dev
TO_SERVE := $(or $(wildcard $(READY)),.venv/has-app)

.PHONY: install demo test test-space check javascript fix smoke train ship card screenshot wheel
install: $(READY)

.venv/has-%: pyproject.toml $(wildcard requirements/*.txt)  # the package with an extra: app, dev
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --editable ".[$*]" && touch $@

demo: $(TO_SERVE)
	$(BIN)/landmark serve

# What some tests need of npm; without it they are skipped, and say so.
PACKAGES := tests/javascript/node_modules
javascript: $(if $(shell command -v npm),$(PACKAGES))
$(PACKAGES): tests/javascript/package-lock.json
	cd tests/javascript && npm ci --no-audit --no-fund && touch node_modules || echo "npm failed"

# Each test file in one process, for what its tests share; a process takes about 2 GB.
test: $(READY) check javascript
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test-space: $(READY)  # the Space and the wheel in environments of their own: needs a package index
	$(BIN)/python -m pytest -m fresh
check: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
fix: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .
smoke: $(READY)
	$(BIN)/landmark train --smoke --out runs/smoke

# The networks that ship: make train DATA=photos UNKNOWN=photos-of-anything-else, then make ship.
FIT = $(BIN)/landmark train --data $(DATA) --unknown $(UNKNOWN)
train: $(READY)
	$(FIT) --probe --out runs/probe
	$(FIT) --init runs/probe --out runs/lite2
	$(FIT) --network resnet18 --teacher runs/lite2 --out runs/resnet18
	$(FIT) --network landmark_cnn --teacher runs/lite2 --out runs/landmark_cnn
FILES := config.json model.safetensors features.safetensors metrics.json *.png
ship: WEIGHTS := $(CURDIR)/landmark_model/weights
ship: $(READY)
	cd runs/resnet18 && cp $(FILES) $(WEIGHTS)
	cd runs/landmark_cnn && cp $(FILES) $(WEIGHTS)/landmark_cnn
	cd runs/lite2 && cp $(FILES) $(WEIGHTS)/tf_efficientnet_lite2
	$(MAKE) card
card: $(READY)
	$(BIN)/landmark card --out model_card.md --results-in README.md
screenshot: $(READY)
	$(BIN)/python docs/screenshot.py docs/app.png landmark_model/web/static/preview.png
wheel: $(READY)  # without build/, which keeps modules that have been deleted since
	rm -rf build && $(BIN)/pip wheel --no-deps --wheel-dir dist . && rm -rf build
