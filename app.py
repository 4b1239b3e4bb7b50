"""Serves the landmark tagger, as `landmark serve` does; a hosted Space runs it."""

import sys

from landmark_model.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
