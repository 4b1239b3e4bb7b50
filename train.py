"""Trains a landmark classifier on an image folder: `python train.py --help`.

From Python: landmark_model.training.pipeline.train(TrainOptions(data="photos", out="runs/mine")).
"""

import sys

from landmark_model import LandmarkError
from landmark_model.files import printable
from landmark_model.training.pipeline import main

if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"train.py: {printable(str(error))}")
