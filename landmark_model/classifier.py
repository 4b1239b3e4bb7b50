"""The front door: `load` gives a classifier that takes any photo and names the landmark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from PIL.Image import Image
from torch import Tensor, nn

from landmark_model.calibration import known_score
from landmark_model.config import LandmarkError, ModelConfig, read_config, require_counts
from landmark_model.explain import Explanation, class_activation, locate_heat, surest_class
from landmark_model.hub.repo import best_first, find, locate, read_neighbours
from landmark_model.memory import Neighbours
from landmark_model.networks import compute_features, mean_of_views, restore
from landmark_model.photos import Photo, open_photo
from landmark_model.places import find_place
from landmark_model.prediction import Answer, Prediction
from landmark_model.preprocess import by_shape, eval_transform, to_tensor, whole_photo

SURE = 0.7
CPU_BATCH, GPU_BATCH = 4, 32  # photos in a forward pass


class LandmarkClassifier:
    """A trained network with its own labels and preprocessing; made by `load`.

    `neighbours` are the training photos it compares with, where its config asks for them.
    """

    def __init__(
        self,
        network: nn.Module,
        config: ModelConfig,
        device: str,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.config = config
        self.device = device
        self._network = network.to(device, memory_format=torch.channels_last).eval()
        self._neighbours = neighbours
        self._transform = eval_transform(config)
        self._places = [find_place(name) for name in config.class_names]

    def __repr__(self) -> str:
        return (
            f"LandmarkClassifier({self.config.architecture}, "
            f"{len(self.config.class_names)} landmarks, {self.device})"
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the landmarks it knows, as people read them."""
        return self.config.labels

    def predict(self, photo: Photo, top_k: int = 5) -> Answer:
        """The `top_k` most probable landmarks of one photo, best first; all, if there are fewer.

        The answer is a list of them that also says whether the photo shows any known landmark.
        `photo` is a path, bytes, binary file object, PIL image or uint8 array (H, W, 3). Raises
        LandmarkError where it cannot be read, or `top_k` is below 1.
        """
        return self.predict_batch([photo], top_k)[0]

    def predict_batch(
        self, photos: Iterable[Photo], top_k: int = 5, batch_size: int | None = None
    ) -> list[Answer]:
        """`predict` for each of `photos`, with one forward pass for every `batch_size` of them.

        Without `batch_size`, by as many as suit the device: few on a CPU, where maps that outgrow
        what the allocator keeps cost more than larger batches save. Raises LandmarkError, naming
        the photo, where one cannot be read.
        """
        if isinstance(photos, str | bytes | os.PathLike) or not isinstance(photos, Iterable):
            raise LandmarkError("predict_batch takes a list of photos; for one, call predict.")
        photos = list(photos)
        if batch_size is None:
            batch_size = CPU_BATCH if self.device == "cpu" else GPU_BATCH
        require_counts(top_k, batch_size)
        return [
            answer
            for start in range(0, len(photos), batch_size)
            for answer in self._answers(photos[start : start + batch_size], top_k)
        ]

    def describe(self, class_name: str, probability: float = 1.0) -> Prediction:
        """What `predict` would say of a landmark: where it is, its names and tags.

        Raises LandmarkError where `class_name` is none of `config.class_names`.
        """
        if class_name not in self.config.class_names:
            raise self._no_such(class_name)
        return self._prediction(self.config.class_names.index(class_name), probability)

    @torch.inference_mode()
    def explain(self, photo: Photo, class_name: str | None = None) -> Explanation:
        """Where in `photo` the landmark is: a heatmap and a mask (H, W) of it, and a box in px.

        `photo` is anything that `predict` takes; H and W are its sides when upright, as
        `open_photo` gives it. It looks at all of the photo, also where `predict` sees no more than
        its centre square. `class_name` is the landmark to look for. Without, it is the first guess
        of `predict` if that has a probability of 0.7 or more, else what the network is surest of in
        any part of the photo as large as half its shorter side.

        The heat is exactly what each place adds to the landmark's logit (Zhou et al. 2016) above
        the mean of all landmarks' logits; what neighbours say has no place in the photo. Raises
        LandmarkError where the photo cannot be read, `class_name` is none of
        `config.class_names`, or the network is not made so.
        """
        names = self.config.class_names
        if class_name is not None and class_name not in names:
            raise self._no_such(class_name)
        upright = open_photo(photo)
        images = to_tensor(self.config)(whole_photo(upright, self.config))[None].to(self.device)
        activations = self._activations(images).cpu()  # (C, h, w)
        if class_name is None:
            cell_px = images.shape[-1] / activations.shape[-1]
            class_name = self._class_to_explain(upright, activations, cell_px)
        index = names.index(class_name)
        # A softmax cannot tell what all landmarks have in common; sky, for one, excites them all.
        heat = activations[index] - activations.mean(0)
        return Explanation(*locate_heat(heat, upright.size), self.labels[index], class_name)

    def _no_such(self, class_name: str) -> LandmarkError:
        names = self.config.class_names
        return LandmarkError(
            f"There is no landmark {class_name!r} here. Give one of config.class_names: "
            f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        )

    def _activations(self, images: Tensor) -> Tensor:
        """What each place of one photo (1, 3, H, W) adds to each logit: (C, h, w)."""
        head = self._network.get_classifier()
        maps = self._maps(images) if isinstance(head, nn.Linear) else images[0, 0]
        if maps.ndim != 3 or len(maps) != head.in_features:
            raise LandmarkError(
                f"explain cannot tell where {self.config.architecture} looks: it needs a network "
                "of convolutions and one linear last layer, such as resnet18."
            )
        activations = class_activation(maps, head.weight)
        if not activations.isfinite().all():
            raise self._no_numbers()
        return activations

    def _maps(self, images: Tensor) -> Tensor:
        """The last maps (D, h, w), not yet averaged, of one photo (1, 3, H, W)."""
        try:
            maps = self._network.forward_features(images)
            if self.config.flip:
                maps = (maps + self._network.forward_features(images.flip(3)).flip(3)) / 2
        except AssertionError as error:
            raise LandmarkError(
                f"{self.config.architecture} takes images of {self.config.image_size} px only, so "
                "it cannot be explained."
            ) from error
        return maps[0]

    def _no_numbers(self) -> LandmarkError:
        return LandmarkError(
            f"The network {self.config.architecture} gives no finite numbers for this photo: its "
            "weights are damaged. Copy the whole folder again, or train it again."
        )

    def _class_to_explain(self, upright: Image, activations: Tensor, cell_px: float) -> str:
        best = self.predict(upright, top_k=1)[0]
        if best.probability >= SURE:
            return best.class_name
        bias = self._network.get_classifier().bias.cpu()
        side_cells = max(1, round(self.config.image_size / cell_px))
        index = surest_class(activations, bias, side_cells, self.config.temperature)
        return self.config.class_names[index]

    @torch.inference_mode()
    def _answers(self, photos: Sequence[Photo], top_k: int) -> Iterator[Answer]:
        views = by_shape([self._transform(open_photo(photo)) for photo in photos])
        config = self.config
        logits, features = self._describe(views)
        scaled, features = logits.cpu().double() / config.temperature, features.cpu()
        bank = None
        if self._neighbours is not None:
            scaled, bank = self._neighbours(scaled, features), self._neighbours.features
        scores = known_score(config.known_method, scaled, features, bank)
        if not (scaled.isfinite().all() and scores.isfinite().all()):
            raise self._no_numbers()
        for probabilities, score in zip(scaled.softmax(1), scores.tolist(), strict=True):
            known = None if config.known_threshold is None else score >= config.known_threshold
            yield Answer(self._best(probabilities, top_k), score, known)

    def _describe(self, views: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and features (N, D) of N photos, their images normalised and `by_shape`."""
        features = mean_of_views(partial(compute_features, self._network), views, self.device)
        return self._network.get_classifier()(features), features

    def _best(self, probabilities: Tensor, top_k: int) -> list[Prediction]:
        values, indices = probabilities.topk(min(top_k, len(probabilities)))
        return [
            self._prediction(index, value)
            for index, value in zip(indices.tolist(), values.tolist(), strict=True)
        ]

    def _prediction(self, index: int, probability: float) -> Prediction:
        return Prediction(
            self.config.labels[index],
            self.config.class_names[index],
            probability,
            self._places[index],
        )


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    network: str | None = None,
    device: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> LandmarkClassifier:
    """A classifier that is ready to use: the one that ships, or that of a folder or hub repo.

    `source` is a folder that train.py wrote or a hub repo ("org/name", at `revision`: a tag,
    branch or commit). `network` chooses among several in it ("resnet18", "landmark_cnn"); without,
    the one that did best on its validation photos. `device` is torch's name of one; without, a GPU
    if there is one.

    Of a hub repo only what this network needs is downloaded, to `cache_dir` (else the hub's usual
    one), and checked against its SHA256SUMS. What was downloaded before also works without a
    network, with a warning; with `local_files_only` nothing is asked of the hub.

    Weights are read from safetensors only. Raises LandmarkError where there is no such folder,
    repo, network or device, a file is damaged, or weights and config do not fit.
    """
    folder = find(source, network, revision=revision, cache_dir=cache_dir,
                  local_files_only=local_files_only)  # fmt: skip
    config, device = read_config(folder), device or _best_device()
    net = restore(config, folder)
    neighbours = read_neighbours(config, folder, net)
    try:
        return LandmarkClassifier(net, config, device, neighbours)
    except LandmarkError:
        raise
    except (RuntimeError, AssertionError) as error:  # unknown to torch, or not here
        raise LandmarkError(
            f"Device {device!r} is not to be had here. Try device='cpu'."
        ) from error


def list_networks(
    source: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> list[str]:
    """The networks that `load` finds in `source`, the one it takes unless told otherwise first.

    Raises LandmarkError where there is no such folder or repo, or no network in it.
    """
    return list(best_first(locate(source, revision, cache_dir, local_files_only)))


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
