"""Knowledge distillation: a trained teacher network and its student (Hinton et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landmark_model.config import LandmarkError, ModelConfig


class Teacher(nn.Module):
    """A trained network whose logits a student learns (Hinton et al. 2015).

    It sees the very images that the student sees (Beyer et al. 2022), `shown_as` the student's
    config says: normalised by its mean and std, which it turns into the teacher's own.
    """

    def __init__(self, network: nn.Module, config: ModelConfig, shown_as: ModelConfig) -> None:
        super().__init__()
        if config.class_names != shown_as.class_names:
            odd = sorted(set(config.class_names) ^ set(shown_as.class_names))
            raise LandmarkError(
                f"The teacher and the photos have different classes: {', '.join(odd[:5])}"
                f"{f' and {len(odd) - 5} more' if len(odd) > 5 else ''} are on one side only. "
                "Train the teacher on the same folder first."
            )
        self.network = network.eval().requires_grad_(False)
        theirs, ours = (
            [torch.tensor(values).view(1, 3, 1, 1) for values in (c.mean, c.std)]
            for c in (shown_as, config)
        )
        self.register_buffer("scale", theirs[1] / ours[1])
        self.register_buffer("shift", (theirs[0] - ours[0]) / ours[1])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of images (N, 3, H, W)."""
        return self.network(images * self.scale + self.shift)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode."""
        return super().train(False)
