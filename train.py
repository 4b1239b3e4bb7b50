"""Trains a landmark classifier on an image folder, as `landmark train` does.

From Python: landmark_model.training.pipeline.train(TrainOptions(data="photos", out="runs/mine")).
"""

import sys

from landmark_model.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
