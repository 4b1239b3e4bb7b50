# make demo: set up and serve the app.  make test: set up and run every check.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name))))
BIN := .venv/bin
READY := .venv/.ready

.PHONY: install demo test check fix smoke train ship card screenshot
install: $(READY)

$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/python app.py

test: $(READY) check
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

smoke: $(READY)
	$(BIN)/python train.py --smoke --out runs/smoke

# The networks that ship: make train DATA=photos INIT=imagenet.safetensors ABOUT="where from",
# then make ship.
LARGE := --network resnet18 --image-size 224 --train-size 160
train: $(READY)
	$(BIN)/python train.py --data $(DATA) $(LARGE) --init $(INIT) --epochs 32 --out runs/resnet18_stage1
	$(BIN)/python train.py --data $(DATA) $(LARGE) --init runs/resnet18_stage1/model.safetensors \
		--epochs 14 --lr 0.0006 --layer-decay 0.7 --cutmix 0 \
		--about-data "$(ABOUT)" --out runs/resnet18
	$(BIN)/python train.py --data $(DATA) --network landmark_cnn \
		--about-data "$(ABOUT)" --out runs/landmark_cnn

SHIPPED := config.json model.safetensors metrics.json training_curve.png confusion_matrix.png
ship: $(READY)
	mkdir -p landmark_model/weights/landmark_cnn
	cp $(addprefix runs/resnet18/,$(SHIPPED)) landmark_model/weights
	cp $(addprefix runs/landmark_cnn/,$(SHIPPED)) landmark_model/weights/landmark_cnn
	$(MAKE) card

card: $(READY)
	$(BIN)/python -m landmark_model card --out model_card.md --results-in README.md

screenshot: $(READY)
	$(BIN)/python docs/screenshot.py docs/app.png
