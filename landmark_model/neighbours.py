"""What a network remembers of its training photos, and how those near a photo help to name it."""

from __future__ import annotations

from torch import Tensor, nn

WIDTH = 0.03  # of the kernel, in cosine: photos further away than a few of it hardly count


class Neighbours(nn.Module):
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
        members = nn.functional.one_hot(labels.long(), class_count).float()  # (M, C)
        self.register_buffer("shares", members / members.sum(0).clamp_min(1), persistent=False)

    @classmethod
    def remember(cls, features: Tensor, labels: Tensor, class_count: int) -> Neighbours:
        """The memory of features (M, D) of any length, with float16 precision, as it is stored."""
        return cls(nn.functional.normalize(features).half(), labels, class_count)

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Logits (N, C), divided by their temperature, with what the neighbours of features (N, D)
        say; calibrated anew by `temperature`."""
        return (logits + self.weight * self.nearness(features)) / self.temperature

    def nearness(self, features: Tensor) -> Tensor:
        """How near each class is (N, C) to features (N, D)."""
        cosine = nn.functional.normalize(features) @ self.features.T  # (N, D) -> (N, M)
        density = ((cosine - 1) / self.width).exp() @ self.shares  # (N, M) -> (N, C)
        return self.width * density.clamp_min(1e-30).log()
