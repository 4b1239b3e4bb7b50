"""Says which landmark a photo shows, where that is, and how sure it is.

>>> from landmark_model import load
>>> best, *rest = load().predict("photo.jpg", top_k=5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from landmark_model.errors import LandmarkError

if TYPE_CHECKING:
    from landmark_model.classifier import LandmarkClassifier, list_networks, load
    from landmark_model.decoding import OpenedPhoto, open_safely
    from landmark_model.explain import Explanation
    from landmark_model.hub.card import wilson
    from landmark_model.hub.repo import read_metrics
    from landmark_model.library.browse import (
        Library,
        LibraryPhoto,
        LibraryQuery,
        LibraryView,
        open_library,
    )
    from landmark_model.library.sidecars import to_xmp, write_sidecars_zip
    from landmark_model.library.tagging import Tagged, tag_photos, to_csv, to_json
    from landmark_model.photos import (
        PHOTO_ENDINGS,
        RAW_ENDINGS,
        CameraFacts,
        camera_position,
        is_raw,
        open_photo,
    )
    from landmark_model.places import LANGUAGES, Place, distance_km, find_place, nearest_place
    from landmark_model.prediction import Answer, Prediction

__all__ = [
    "LANGUAGES",
    "PHOTO_ENDINGS",
    "RAW_ENDINGS",
    "Answer",
    "CameraFacts",
    "Explanation",
    "LandmarkClassifier",
    "LandmarkError",
    "Library",
    "LibraryPhoto",
    "LibraryQuery",
    "LibraryView",
    "OpenedPhoto",
    "Place",
    "Prediction",
    "Tagged",
    "camera_position",
    "distance_km",
    "find_place",
    "is_raw",
    "list_networks",
    "load",
    "nearest_place",
    "open_library",
    "open_photo",
    "open_safely",
    "read_metrics",
    "tag_photos",
    "to_csv",
    "to_json",
    "to_xmp",
    "wilson",
    "write_sidecars_zip",
]
_OWNERS = {
    "hub.card": ("wilson",),
    "classifier": ("LandmarkClassifier", "list_networks", "load"),
    "decoding": ("OpenedPhoto", "open_safely"),
    "explain": ("Explanation",),
    "hub.repo": ("read_metrics",),
    "photos": (
        "PHOTO_ENDINGS",
        "RAW_ENDINGS",
        "CameraFacts",
        "camera_position",
        "is_raw",
        "open_photo",
    ),
    "places": ("LANGUAGES", "Place", "distance_km", "find_place", "nearest_place"),
    "prediction": ("Answer", "Prediction"),
    "library.browse": (
        "Library",
        "LibraryPhoto",
        "LibraryQuery",
        "LibraryView",
        "open_library",
    ),
    "library.sidecars": ("to_xmp", "write_sidecars_zip"),
    "library.tagging": ("Tagged", "tag_photos", "to_csv", "to_json"),
}
__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    # torch and timm take seconds to import; someone who only wants LandmarkError should not wait.
    for module, names in _OWNERS.items():
        if name in names:
            return getattr(import_module(f"landmark_model.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
