"""`python -m landmark_model` is the command line `landmark`."""

import sys

from landmark_model.cli import main

if __name__ == "__main__":
    sys.exit(main())
