# make demo: set up and serve the app.  make test: set up and run every check.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name))))
BIN := .venv/bin
READY := .venv/.ready

.PHONY: install demo test test-space check javascript fix smoke train ship card screenshot
install: $(READY)

$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/python app.py

# What some tests need of npm; without it they are skipped, and say so.
PACKAGES := tests/javascript/node_modules
javascript: $(if $(shell command -v npm),$(PACKAGES))
$(PACKAGES): tests/javascript/package-lock.json
	cd tests/javascript && npm ci --no-audit --no-fund && touch node_modules || echo "npm failed"

# Each test file in one process, for what its tests share; a process takes about 2 GB.
test: $(READY) check javascript
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-space: $(READY)  # what a hosted Space does with the folder we build: needs a package index
	$(BIN)/python -m pytest -m fresh

check: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

fix: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

smoke: $(READY)
	$(BIN)/python train.py --smoke --out runs/smoke

# The networks that ship: make train DATA=photos UNKNOWN=photos-of-anything-else, then make ship.
FIT = $(BIN)/python train.py --data $(DATA) --unknown $(UNKNOWN)
train: $(READY)
	$(FIT) --probe --out runs/probe
	$(FIT) --init runs/probe --out runs/lite2
	$(FIT) --network resnet18 --teacher runs/lite2 --out runs/resnet18
	$(FIT) --network landmark_cnn --teacher runs/lite2 --out runs/landmark_cnn

FILES := {config.json,model.safetensors,features.safetensors,metrics.json,*.png}
WEIGHTS := landmark_model/weights
ship: SHELL := bash
ship: $(READY)
	cp runs/resnet18/$(FILES) $(WEIGHTS)
	cp runs/landmark_cnn/$(FILES) $(WEIGHTS)/landmark_cnn
	cp runs/lite2/$(FILES) $(WEIGHTS)/tf_efficientnet_lite2
	$(MAKE) card

card: $(READY)
	$(BIN)/python -m landmark_model card --out model_card.md --results-in README.md

screenshot: $(READY)
	$(BIN)/python docs/screenshot.py docs/app.png landmark_model/web/static/preview.png
