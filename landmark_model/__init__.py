"""Says which landmark a photo shows, where that is, and how sure it is.

>>> from landmark_model import load
>>> best, *rest = load().predict("photo.jpg", top_k=5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from landmark_model.config import LandmarkError

if TYPE_CHECKING:
    from landmark_model.classifier import LandmarkClassifier, Prediction, list_networks, load
    from landmark_model.explain import Explanation
    from landmark_model.photos import open_photo

__all__ = [
    "Explanation",
    "LandmarkClassifier",
    "LandmarkError",
    "Prediction",
    "list_networks",
    "load",
    "open_photo",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # torch and timm take seconds to import; someone who only wants LandmarkError should not wait.
    if name in __all__:
        owner = {"Explanation": "explain", "open_photo": "photos"}.get(name, "classifier")
        return getattr(import_module(f"landmark_model.{owner}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
