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

# What some tests need of npm; where it is not to be had they are skipped, and say so.
PACKAGES := tests/javascript/node_modules
javascript: $(if $(shell command -v npm),$(PACKAGES))

$(PACKAGES): tests/javascript/package-lock.json
	cd tests/javascript && npm ci --no-audit --no-fund \
		&& touch node_modules || echo "npm gave nothing: tests of JavaScript and axe are skipped"

# Each file of tests in one process, for what its tests share; a process takes about 2 GB.
test: $(READY) check javascript
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
		--no-loadscope-reorder

# What a hosted Space does with the folder we build: needs a package index.
test-space: $(READY)
	$(BIN)/python -m pytest -m fresh

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

smoke: $(READY)
	$(BIN)/python train.py --smoke --out runs/smoke

# The networks that ship: make train DATA=photos OTHERS=photos-of-anything-else
# MORE=the-same-with-a-train-folder-of-other-landmarks INIT=resnet18.safetensors
# TEACHER=efficientnet_lite2.safetensors LITE0=efficientnet_lite0.safetensors
# ABOUT="where from", then make ship.
FIT = $(BIN)/python train.py --data $(DATA) --about-data "$(ABOUT)"
DOUBT = --unknown $(OTHERS) --expose --flip
MORE_DOUBT = --unknown $(MORE) --expose --outlier-share 0.35 --flip
LITE := --network tf_efficientnet_lite2 --image-size 224 --train-size 192
LARGE := --network resnet18 --muon 0 --image-size 224 --train-size 160
TOGETHER := --batch-size 32 --layer-decay 0.7 --min-area 0.5 --cutmix 0
# Photos of all sharpnesses, some without colour: what earlier runs saw too little of.
VARIED := --mixup 0.4 --low-resolution 0.4 --grey 0.1 --distillation 0.8
LARGE_TOGETHER = $(FIT) $(LARGE) --train-size 192 --first-size 160 --lr 0.0008 \
	$(TOGETHER) $(DOUBT)
SCRATCH = --network landmark_cnn --image-size 192 --train-size 160 --batch-size 32 --balance 0.5 \
	--cutmix 0 $(VARIED) --zoom-out 0.2 $(DOUBT)
train: $(READY)
	$(FIT) $(LITE) --first-size 128 --init $(TEACHER) --out runs/lite2
	$(FIT) $(LITE) --first-size 160 --init runs/lite2/model.safetensors --epochs 6 --lr 0.0006 \
		--layer-decay 0.7 --frozen-layers 4 --cutmix 0 $(DOUBT) --out runs/lite2_doubt
	$(FIT) --quick --init $(TEACHER) --flip --out runs/quick
	$(FIT) --quick --network tf_efficientnet_lite0 --init $(LITE0) --low-resolution 0.4 \
		--grey 0.1 --views 4 --flip --out runs/quick_lite0
	$(FIT) $(LITE) --image-size 256 --train-size 224 --first-size 192 \
		--init runs/lite2_doubt/model.safetensors --teacher runs/lite2_doubt runs/quick \
		--epochs 10 --lr 0.0006 $(TOGETHER) $(DOUBT) --out runs/lite2_two
	$(FIT) $(LITE) --image-size 256 --train-size 224 --first-size 192 \
		--init runs/lite2_two/model.safetensors \
		--teacher runs/lite2_two runs/lite2_doubt runs/quick_lite0 \
		--epochs 20 --lr 0.0006 $(TOGETHER) $(VARIED) $(DOUBT) --out runs/lite2_taught
	$(FIT) $(LITE) --image-size 256 --train-size 224 --first-size 192 \
		--init runs/lite2_taught/model.safetensors --teacher runs/lite2_taught runs/quick_lite0 \
		--epochs 11 --lr 0.0006 $(TOGETHER) $(VARIED) $(MORE_DOUBT) --blend \
		--out runs/lite2_blended
	$(FIT) $(LARGE) --init $(INIT) --epochs 32 --out runs/resnet18_stage1
	$(FIT) $(LARGE) --init runs/resnet18_stage1/model.safetensors --epochs 14 --lr 0.0006 \
		--layer-decay 0.7 --cutmix 0 --out runs/resnet18_stage2
	$(FIT) $(LARGE) --init runs/resnet18_stage2/model.safetensors --epochs 24 --lr 0.001 \
		--layer-decay 0.7 --first-size 128 --teacher runs/lite2 --out runs/resnet18
	$(FIT) $(LARGE) --init runs/resnet18/model.safetensors --epochs 5 --lr 0.0005 \
		--layer-decay 0.7 --image-size 192 --cutmix 0 --teacher runs/lite2_doubt $(DOUBT) \
		--out runs/resnet18_doubt
	$(LARGE_TOGETHER) --init runs/resnet18_doubt/model.safetensors \
		--teacher runs/lite2_two runs/quick --epochs 10 --out runs/resnet18_two
	$(LARGE_TOGETHER) --init runs/resnet18_two/model.safetensors $(VARIED) \
		--teacher runs/lite2_taught runs/quick runs/quick_lite0 --epochs 12 \
		--out runs/resnet18_three
	$(LARGE_TOGETHER) --init runs/resnet18_three/model.safetensors $(VARIED) \
		--teacher runs/lite2_taught runs/quick runs/quick_lite0 --epochs 30 --view both \
		--out runs/resnet18_taught
	$(FIT) --network resnet18 --image-size 224 --train-size 192 --first-size 128 --init $(INIT) \
		--teacher runs/lite2_blended runs/quick runs/quick_lite0 --epochs 55 --batch-size 32 \
		--cutmix 0 $(VARIED) $(DOUBT) --out runs/resnet18_muon
	$(FIT) $(LITE) --image-size 256 --train-size 224 --first-size 128 \
		--init runs/quick/model.safetensors \
		--teacher runs/lite2_blended runs/resnet18_muon runs/quick_lite0 --epochs 45 \
		--batch-size 32 --cutmix 0 $(VARIED) $(MORE_DOUBT) --blend --out runs/lite2_again
	$(FIT) $(SCRATCH) --first-size 128 --teacher runs/lite2_blended runs/resnet18_taught \
		--epochs 80 --out runs/landmark_cnn_muon
	$(FIT) $(SCRATCH) --first-size 160 --init runs/landmark_cnn_muon/model.safetensors \
		--teacher runs/lite2_again runs/resnet18_taught --epochs 16 --lr 0.001 --blend \
		--view both --out runs/landmark_cnn_more

SHIPPED := config.json model.safetensors metrics.json reliability.png training_curve.png \
	confusion_matrix.png
# Of networks whose answers compare with training photos.
FEATURES := features.safetensors
WEIGHTS := landmark_model/weights
shipped = $(addprefix runs/$(1)/,$(SHIPPED)) $(wildcard runs/$(1)/$(FEATURES))
ship: $(READY)
	mkdir -p $(WEIGHTS)/landmark_cnn $(WEIGHTS)/tf_efficientnet_lite2
	rm -f $(WEIGHTS)/$(FEATURES) $(WEIGHTS)/*/$(FEATURES)
	cp $(call shipped,resnet18_taught) $(WEIGHTS)
	cp $(call shipped,landmark_cnn_more) $(WEIGHTS)/landmark_cnn
	cp $(call shipped,lite2_again) $(WEIGHTS)/tf_efficientnet_lite2
	$(MAKE) card

card: $(READY)
	$(BIN)/python -m landmark_model card --out model_card.md --results-in README.md

screenshot: $(READY)
	$(BIN)/python docs/screenshot.py docs/app.png landmark_model/web/static/preview.png
