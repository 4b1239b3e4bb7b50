# make demo: set up and serve the app.  make test: set up and run every check.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name))))
BIN := .venv/bin
READY := .venv/has-dev
SIZE_app := about 115 MB of packages for the app
SIZE_dev := several GB of packages, torch among them,
FIT = $(BIN)/landmark train --data $(DATA) --unknown $(UNKNOWN)
FILES := config.json model.safetensors metrics.json training_curve.png reliability.png confusion_matrix.png
WEIGHTS := $(CURDIR)/landmark_model/weights
# Of files that some networks have: what tells "none of these", and what landmarks are taught by.
MORE := known_head.safetensors features.safetensors background.safetensors
SHIP = cd runs/$(1) && (cd $(2) && rm -f $(MORE)) && cp $(FILES) $$(ls $(MORE) 2>/dev/null) $(2)
PACKAGES := tests/javascript/node_modules
.PHONY: install demo test test-space check javascript fix smoke train ship card screenshot wheel

install: $(READY)
.venv/has-%: pyproject.toml $(wildcard requirements/*.txt)  # the package with an extra: app, dev
	@echo "Once, into .venv: $(or $(SIZE_$*),packages) from the Python package index. Later runs need no network."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --editable ".[$*]" && touch $@
demo: $(or $(wildcard $(READY)),.venv/has-app)
	@echo "Loading the networks, which are part of this folder; then the app says its address."
	$(BIN)/landmark serve
test: $(READY) check javascript  # each file in one process, for what its tests share: 2 GB each
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test-space: $(READY)  # the Space and the wheel in environments of their own: needs a package index
	$(BIN)/python -m pytest -m fresh
javascript: $(if $(shell command -v npm),$(PACKAGES))  # without it, some tests are skipped
$(PACKAGES): tests/javascript/package-lock.json
	cd tests/javascript && npm ci --no-audit --no-fund && touch node_modules || echo "npm failed"
check: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
fix: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .
smoke: $(READY)
	$(BIN)/landmark train --smoke --out runs/smoke
train: $(READY)  # the networks that ship: make train DATA=photos UNKNOWN=photos-of-anything-else
	$(FIT) --probe --out runs/probe
	$(FIT) --init runs/probe --out runs/lite2
	for net in resnet18 landmark_cnn; do $(FIT) --network $$net --teacher runs/lite2 --out runs/$$net || exit; done
ship: $(READY)  # after make train
	$(call SHIP,resnet18,$(WEIGHTS))
	$(call SHIP,landmark_cnn,$(WEIGHTS)/landmark_cnn)
	$(call SHIP,lite2,$(WEIGHTS)/tf_efficientnet_lite2)
	$(MAKE) card
card: $(READY)
	$(BIN)/landmark card --out model_card.md --results-in README.md
screenshot: $(READY)
	$(BIN)/python docs/screenshot.py docs/app.png landmark_model/web/static/preview.png
wheel: $(READY)
	$(BIN)/pip wheel --no-deps --wheel-dir dist .
