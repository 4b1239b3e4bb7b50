"""Where a network looks: class-activation map -> heatmap -> mask -> box, learned without any box.

Exact for networks that average their last maps and end in a linear layer: there the logit is the
mean of the map, plus the bias (Zhou et al. 2016, "Learning deep features for discriminative
localization").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

# Threshold and box are found on a map no wider than this: a photo of 80 megapixels then costs its
# float32 heatmap and its mask, 400 MB, and nothing else of that size.
GRID_PX = 1024
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where in a photo of H x W px, turned upright, the network sees a landmark.

    `heatmap` is float32 (H, W), from 0, the least evidence for the landmark, to 1; `mask` is
    bool (H, W), True on the landmark; `box` is (left, top, right, bottom) in px, right and bottom
    exclusive, around the largest connected part of the mask.
    """

    heatmap: np.ndarray
    mask: np.ndarray
    box: Box
    label: str
    class_name: str


def class_activation(maps: Tensor, weights: Tensor) -> Tensor:
    """What each location adds to a logit: maps (C, h, w), last layer's weights (C,) -> (h, w).

    Its mean plus the bias is the logit. Weights (K, C) of K classes give (K, h, w).
    """
    return torch.einsum("...c,chw->...hw", weights, maps)


def surest_class(activations: Tensor, bias: Tensor, side_cells: int, temperature: float) -> int:
    """Index of the class with the most probable square window, `side_cells` wide.

    `activations` are (K, h, w), `bias` (K,). A window has the logits the network would give if the
    photo were no more than that; windows are cut to the map where it is smaller.
    """
    height, width = activations.shape[-2:]
    sides = (min(side_cells, height), min(side_cells, width))
    logits = functional.avg_pool2d(activations, sides, stride=1) + bias[:, None, None]
    return int((logits / temperature).softmax(0).amax((1, 2)).argmax())


def locate_heat(activation: Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, Box]:
    """Heatmap float32 (H, W), mask bool (H, W) and box in px for a photo of `size` (W, H) px.

    `activation` is a map (h, w) of the whole photo, enlarged with straight lines between its cells.
    Where it is the same everywhere, all of the photo is the landmark. The fields are as described
    in `Explanation`.
    """
    width, height = size
    scale = min(1.0, GRID_PX / max(size))
    grid_size = (max(1, round(height * scale)), max(1, round(width * scale)))
    grid = normalise(_resize(activation, grid_size))
    threshold = otsu_threshold(grid.numpy())
    box = largest_box(grid.numpy() >= threshold)
    heatmap = _resize(grid, (height, width)).numpy()
    return heatmap, heatmap >= threshold, _scale(box, grid_size, size)


def normalise(activation: Tensor) -> Tensor:
    """`activation` (h, w) moved and scaled to 0..1; all 1 if it is the same everywhere."""
    low, high = activation.min(), activation.max()
    # Rounding alone parts equal values a little when they are enlarged.
    if high - low <= 1e-5 * activation.abs().max():
        return torch.ones_like(activation)
    return (activation - low) / (high - low)


def otsu_threshold(heat: np.ndarray) -> np.float32:
    """The value from 0 to 1 that best splits `heat` (h, w) into a low and a high group.

    It makes the variance between the groups largest (Otsu 1979), over a histogram of 64 bins.
    """
    counts, edges = np.histogram(heat, bins=64, range=(0, 1))
    shares = counts / counts.sum()
    below = shares.cumsum()[:-1]
    means = (shares * (edges[:-1] + edges[1:]) / 2).cumsum()
    parted = (below > 0) & (below < 1)
    spread = (means[-1] * below - means[:-1]) ** 2 / np.where(parted, below * (1 - below), 1)
    return np.float32(edges[1:-1][np.where(parted, spread, 0).argmax()])


def largest_box(mask: np.ndarray) -> Box:
    """(left, top, right, bottom), exclusive, of the largest connected part of `mask` (h, w).

    The mask has one True or more; cells that touch at a corner only are not connected.
    """
    parts, _ = ndimage.label(mask)
    largest = np.bincount(parts.ravel())[1:].argmax()
    rows, columns = ndimage.find_objects(parts)[largest]
    return columns.start, rows.start, columns.stop, rows.stop


def _resize(activation: Tensor, size: tuple[int, int]) -> Tensor:
    """`activation` (h, w) -> (H, W) = `size`; itself if it has that size."""
    if tuple(activation.shape) == size:
        return activation
    return functional.interpolate(activation[None, None], size, mode="bilinear")[0, 0]


def _scale(box: Box, grid_size: tuple[int, int], size: tuple[int, int]) -> Box:
    """`box` on a grid of (rows, columns), in px of a photo of `size` (W, H); rounded outwards."""
    (rows, columns), (width, height) = grid_size, size
    left, top, right, bottom = box
    return (
        left * width // columns,
        top * height // rows,
        -(-right * width // columns),
        -(-bottom * height // rows),
    )
