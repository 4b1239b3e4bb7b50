"""Serves the landmark tagger. `python app.py --help` lists its settings; a hosted Space runs it."""

from landmark_model.web.server import main

if __name__ == "__main__":
    main()
