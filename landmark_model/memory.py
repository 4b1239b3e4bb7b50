"""The kNN memory: features of the training photos, and how those near a photo help to name it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOST_NUMBERS = 100_000_000  # in one table of a memory: 0.4 GB
WIDTH = 0.03  # of the kernel, in cosine: photos further away than a few of it hardly count


class Memory(nn.Module):
    """Training photos by their features (M, D), of length one, and labels (M,): a memory.

    The last layer knows a class as one direction. The memory knows each photo, so also the few
    that were taken from where this one was (a cache: Orhan 2018, "A simple cache model for image
    recognition"). How near a class is, is the kernel density of its photos: the log of the mean of
    exp(cosine / WIDTH). `weight` is what that counts beside the logits; 0 leaves them as they are.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        class_count: int,
        weight: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight, self.temperature, self.width = weight, temperature, WIDTH
        self.register_buffer("features", features.float(), persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        # In place: one_hot, in whole numbers, takes three times the memory.
        members = torch.zeros(len(labels), class_count, device=labels.device)  # (M, C)
        members.scatter_(1, labels.long()[:, None], 1.0)
        self.register_buffer("shares", members.div_(members.sum(0).clamp_min(1)), persistent=False)

    @staticmethod
    def has_room(photo_count: int, class_count: int, feature_count: int) -> bool:
        """Whether a memory of this many photos is small enough to load again."""
        return photo_count * max(class_count, feature_count) <= MOST_NUMBERS

    @classmethod
    def remember(cls, features: Tensor, labels: Tensor, class_count: int) -> Memory:
        """The memory of features (M, D), with float16 precision, as it is stored."""
        return cls(nn.functional.normalize(features).half(), labels, class_count)

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Logits (N, C), divided by their temperature, plus the votes of the neighbours of features
        (N, D); calibrated again by `temperature`."""
        return (logits + self.weight * self.nearness(features)) / self.temperature

    def nearness(self, features: Tensor) -> Tensor:
        """How near each class is (N, C) to features (N, D)."""
        cosine = nn.functional.normalize(features) @ self.features.T  # (N, D) -> (N, M)
        density = ((cosine - 1) / self.width).exp() @ self.shares  # (N, M) -> (N, C)
        return self.width * density.clamp_min(1e-30).log()
