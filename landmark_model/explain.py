"""What convinces a network: class-activation map -> heatmap -> mask -> box, trained without boxes.

Exact for networks that average their last maps and end in a linear layer: there the logit is the
mean of the map, plus the bias (Zhou et al. 2016, "Learning deep features for discriminative
localization").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from landmark_model.calibration import softmax

# Threshold and box are found on a map no wider than this: a photo of 80 megapixels then costs its
# float32 heatmap and its mask, 400 MB, and nothing else of that size.
GRID_PX = 1024
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What in a photo of H x W px, turned upright, convinces the network of a landmark.

    `heatmap` is float32 (H, W), from 0, the least evidence for the landmark, to 1; `mask` is
    bool (H, W), True on what convinced it, which may be no more than a part of the landmark; `box`
    is (left, top, right, bottom) in px, right and bottom exclusive, around the largest connected
    part of the mask.
    """

    heatmap: np.ndarray
    mask: np.ndarray
    box: Box
    label: str
    class_name: str


def class_activation(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What each location adds to a logit: maps (D, h, w), last layer's weights (D,) -> (h, w).

    Its mean plus the bias is the logit. Weights (C, D) of C classes give (C, h, w).
    """
    return np.tensordot(weights, maps, axes=(-1, 0))


def surest_class(
    activations: np.ndarray, bias: np.ndarray, side_cells: int, temperature: float
) -> int:
    """Index of the class with the most probable square window, `side_cells` wide.

    `activations` are (C, h, w), `bias` (C,). A window has the logits the network would give if the
    photo were no more than that; windows are cut to the map where it is smaller.
    """
    sides = [min(side_cells, side) for side in activations.shape[1:]]
    windows = np.lib.stride_tricks.sliding_window_view(activations, sides, axis=(1, 2))
    logits = windows.mean((3, 4)).reshape(len(bias), -1).T + bias  # (windows, C)
    return int(softmax(logits / temperature).max(0).argmax())


def locate_heat(
    activation: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, Box]:
    """Heatmap float32 (H, W), mask bool (H, W) and box in px for a photo of `size` (W, H) px.

    `activation` is a map (h, w) of the whole photo, enlarged with straight lines between its cells.
    Where it is the same everywhere, all of the photo is in the mask. The fields are as described
    in `Explanation`.
    """
    width, height = size
    scale = min(1.0, GRID_PX / max(size))
    grid_size = (max(1, round(height * scale)), max(1, round(width * scale)))
    grid = stretch(_resize(activation, grid_size))
    threshold = otsu_threshold(grid)
    box = largest_box(grid >= threshold)
    heatmap = _resize(grid, (height, width))
    return heatmap, heatmap >= threshold, _scale(box, grid_size, size)


def stretch(activation: np.ndarray) -> np.ndarray:
    """`activation` (h, w) moved and scaled to 0..1; all 1 if it is the same everywhere."""
    low, high = activation.min(), activation.max()
    # Rounding alone parts equal values a little when they are enlarged.
    if high - low <= 1e-5 * abs(activation).max():
        return np.ones_like(activation)
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
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]  # of the same runs of True, in the same order
    part = _parts(rows.tolist(), starts.tolist(), stops.tolist())
    largest = part == np.bincount(part, stops - starts).argmax()
    rows = rows[largest]
    return (
        int(starts[largest].min()),
        int(rows.min()),
        int(stops[largest].max()),
        int(rows.max()) + 1,
    )


def _parts(rows: list[int], starts: list[int], stops: list[int]) -> np.ndarray:
    """Of which part each run of a mask is, by the number of one of its runs.

    The runs of a mask come row by row. Those of neighbouring rows that share a column are joined
    (union-find: Galler and Fischer 1964).
    """
    parent = list(range(len(rows)))

    def find(run: int) -> int:
        while parent[run] != run:
            parent[run] = run = parent[parent[run]]
        return run

    above = 0  # the first run that may touch
    for run, (row, start, stop) in enumerate(zip(rows, starts, stops, strict=True)):
        while rows[above] < row - 1 or (rows[above] == row - 1 and stops[above] <= start):
            above += 1
        other = above
        while rows[other] == row - 1 and starts[other] < stop:
            parent[find(other)] = find(run)
            other += 1
    return np.array([find(run) for run in range(len(rows))])


def _resize(activation: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`activation` (h, w) -> float32 (H, W) = `size`, with straight lines between its cells."""
    rows, columns = size
    cells = Image.fromarray(np.ascontiguousarray(activation, np.float32))
    return np.array(cells.resize((columns, rows), Image.Resampling.BILINEAR))


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
