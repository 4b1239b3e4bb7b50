"""The linear probe: photos pass through a frozen network once; only a last layer is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm

from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.files import staged
from landmark_model.networks import run_by_shape, tensors_by_shape
from landmark_model.training.data import PhotoSet
from landmark_model.training.frozen import freeze
from landmark_model.training.recipes import Recipe
from landmark_model.training.session import Session
from landmark_model.training.start import Start

VIEWS_NAME = "{split}_views.safetensors"
IMAGES_AT_ONCE = 64
# What of a recipe varies the photos that the frozen network looks at.
VARIED = ("train_size", "min_area", "low_resolution", "grey", "trivial_augment", "erasing")


class Head(nn.Module):
    """The last layer of `network`, behind dropout: features (N, D, 1, 1) -> logits (N, C)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.last = network.get_classifier()
        self.drop = nn.Dropout(0.2)

    def forward(self, features: Tensor) -> Tensor:
        return self.last(self.drop(features.flatten(1)))

    def get_classifier(self) -> nn.Module:
        """The last layer, by the name timm calls it."""
        return self.last

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """One layer, as timm's optimizers ask for."""
        return {"stem": r"^never", "blocks": r"^last"}


class Copies(TorchDataset):
    """`count` images of each photo of `photos`, varied anew, for one decoding of it."""

    def __init__(self, photos: PhotoSet, count: int) -> None:
        self.photos, self.count = photos, count

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> list[Tensor]:
        photo = self.photos.photo(index)
        return [self.photos.vary(photo) for _ in range(self.count)]


class Views(TorchDataset):
    """Features (V, N, D) of V views of N photos, as torch dataset of (feature (D, 1, 1), label).

    Every access draws one of the views, as augmentation would; as maps of one pixel, since what
    trains networks takes batches of maps.
    """

    def __init__(self, features: Tensor, labels: list[int]) -> None:
        self.features, self.labels = features, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        view = int(torch.randint(len(self.features), ()))
        return self.features[view, index].float()[:, None, None], self.labels[index]


def require_whole(start: Start) -> None:
    """Raises LandmarkError if `start` leaves more than the last layer untrained."""
    if not start.filled or len({name.split(".")[0] for name in start.fresh}) > 1:
        raise LandmarkError(
            f"A linear probe trains only the last layer, but {start}. Give --init weights of the "
            "whole network, or leave out --probe."
        )


def frozen_views(
    network: nn.Module,
    config: ModelConfig,
    photos: PhotoSet,
    split: str,
    recipe: Recipe,
    session: Session,
) -> Views:
    """The frozen network's features of the photos of a split: of training photos, augmented copies.

    They are kept in the folder of the session and found there by a later run of the same photos,
    copies and weights.
    """
    count, varied = recipe.probe_copies, {name: getattr(recipe, name) for name in VARIED}
    if split == "validation":
        count, varied = 1, {}
    path = session.folder / VIEWS_NAME.format(split=split)
    digest = _digest(network, f"{photos.key} {varied} {count}")
    features = _read(path, digest)
    if features is None:
        features = compute_views(
            freeze(network, config, session.accelerator.device), Copies(photos, count), session
        )
        with staged(path.parent) as scratch:
            content = serialise({"features": features}, metadata={"digest": digest})
            (scratch / path.name).write_bytes(content)
    return Views(features, photos.labels)


@torch.inference_mode()
def compute_views(
    features_of: Callable[[Tensor], Tensor], copies: Copies, session: Session
) -> Tensor:
    """Features (V, N, D), float16, of the V = `copies.count` images of each photo."""
    accelerator, parts = session.accelerator, []
    batches = DataLoader(
        copies,
        max(1, IMAGES_AT_ONCE // copies.count),
        num_workers=session.workers,
        collate_fn=_by_shape,
    )
    for images in tqdm(batches, desc="Frozen features", unit="batch"):
        with accelerator.autocast():
            features = run_by_shape(features_of, images, accelerator.device)
        parts.append(features.half().cpu())
    return torch.cat(parts).unflatten(0, (-1, copies.count)).transpose(0, 1).contiguous()


def _by_shape(photos: list[list[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The images of photos, in their order, by shape."""
    return tensors_by_shape([image for images in photos for image in images])


def _digest(network: nn.Module, key: str) -> str:
    """A key for features: equal for equal `key` and equal weights below the last layer.

    That one starts at random, and has no part in the features.
    """
    last = {id(parameter) for parameter in network.get_classifier().parameters()}
    digest = hashlib.sha256(key.encode())
    for tensor in (*network.parameters(), *network.buffers()):
        if id(tensor) not in last:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _read(path: Path, digest: str) -> Tensor | None:
    """The features at `path`, if they are the ones with `digest`."""
    try:
        with safe_open(path, framework="pt") as file:
            same = (file.metadata() or {}).get("digest") == digest
            return file.get_tensor("features") if same else None
    except (OSError, SafetensorError):
        return None
