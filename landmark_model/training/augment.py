"""Augmentation of training photos."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from PIL import Image
from torchvision.transforms import v2

from landmark_model.config import ModelConfig
from landmark_model.training.recipes import Recipe

BICUBIC = v2.InterpolationMode.BICUBIC


def to_tensor(config: ModelConfig) -> v2.Compose:
    """RGB image -> float32 (3, H, W), normalised as by `preprocess.normalise`."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(config.mean), list(config.std)),
        ]
    )


class RandomLowResolution(torch.nn.Module):
    """Shrinks a photo and enlarges it again, with probability `p`.

    Where some classes have only small photos, sharpness would otherwise give the class away. The
    logarithm of the scale is uniform, so that strong blur is no rarer than light blur.
    """

    def __init__(self, p: float, smallest_px: int = 48) -> None:
        super().__init__()
        self.p, self.smallest_px = p, smallest_px

    def forward(self, photo: Image.Image) -> Image.Image:
        width, height = photo.size
        if random.random() >= self.p or min(width, height) <= self.smallest_px:
            return photo
        scale = (self.smallest_px / min(width, height)) ** random.random()
        small = photo.resize((round(width * scale), round(height * scale)), Image.Resampling.BOX)
        return small.resize((width, height), Image.Resampling.BICUBIC)


def train_transform(config: ModelConfig, recipe: Recipe) -> v2.Compose:
    """RGB photo -> float32 (3, s, s), s = `recipe.train_size`, augmented anew on every call."""
    grey = [round(255 * channel) for channel in config.mean]
    varied = v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR, fill=grey)
    return v2.Compose(
        [
            v2.RandomResizedCrop(recipe.train_size, (recipe.min_area, 1.0), interpolation=BICUBIC),
            v2.RandomHorizontalFlip(),
            RandomLowResolution(recipe.low_resolution),
            *([varied] if recipe.trivial_augment else []),
            v2.RandomGrayscale(recipe.grey),
            to_tensor(config),
            v2.RandomErasing(recipe.erasing, scale=(0.02, 0.2)),
        ]
    )


def mix_transform(class_count: int, mixup: float) -> Callable:
    """A batch (images, labels) -> (images, soft labels (N, class_count)), some photos blended.

    `mixup` is alpha (Zhang et al. 2018); 0 is off.
    """
    if mixup > 0:
        return v2.MixUp(alpha=mixup, num_classes=class_count)
    return lambda images, labels: (images, torch.nn.functional.one_hot(labels, class_count).float())
