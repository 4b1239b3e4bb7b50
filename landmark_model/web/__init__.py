"""The app: a page, an API, and what stands between them and their visitors."""

from pathlib import Path

STATIC = Path(__file__).with_name("static")
