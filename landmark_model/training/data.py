"""An image folder -> train, validation and test photos -> batches.

Photos are read, and later decoded and shrunk, once: `datasets` keeps what was found in Arrow files
on disk (under HF_HOME), so that later epochs and runs only read pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import torch
from datasets import Dataset as Table
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.utils.data import DataLoader, RandomSampler, WeightedRandomSampler
from torch.utils.data import Dataset as TorchDataset

from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.files import printable
from landmark_model.folders import Skipped, find_photos, is_system_name
from landmark_model.networks import tensors_by_shape
from landmark_model.photos import open_photo
from landmark_model.preprocess import cut_view, normalise

SPLITS = ("train", "validation", "test")
FOLDER_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
MIN_BATCHES = 8
Tables = dict[str, Table]  # by split
NEAR_BITS = 24  # of 256: difference hashes this close are one photo, saved twice


@dataclass(frozen=True)
class Splits:
    """The readable photos of each split, as tables of path, class, label, and what was found."""

    class_names: tuple[str, ...]
    train: Table
    validation: Table
    test: Table

    def items(self) -> list[tuple[str, Table]]:
        """(name, table) of each split."""
        return [(name, getattr(self, name)) for name in SPLITS]


def load_splits(
    root: Path, seed: int, share: float = 0.15, allow_missing: bool = False
) -> tuple[Splits, list[Skipped]]:
    """The photos under `root` by split, and the files that were skipped.

    Layout: `<split>/<class>/<photo>`, or `<class>/<photo>`. A missing validation or test split is
    cut off the training photos: `share` of each class, the same for the same `seed`; copies and
    near-copies stay together. Raises LandmarkError if there are no photos, fewer than two
    classes, or a class that one of the splits lacks (`allow_missing`: only training must have it).
    """
    require_folder(root)
    root = Path(os.path.abspath(root))
    folders = _split_folders(root)
    tables, skipped = {}, _outside(root, folders)
    for split, folder in folders.items():
        tables[split], left_out = read_photos(folder, root)
        skipped += left_out
    _require_classes(tables["train"], root, skipped)
    names = sorted({name for table in tables.values() for name in table.unique("class_name")})
    tables = {split: _number(table, names) for split, table in tables.items()}
    for split in SPLITS[1:]:
        if split not in tables:
            tables["train"], tables[split] = _cut_off(tables["train"], names, share, seed)
    splits = Splits(tuple(names), **tables)
    _require_every_class(splits, allow_missing)
    return splits, skipped


def require_folder(root: Path) -> None:
    """Raises LandmarkError if there is no folder `root`."""
    if not root.is_dir():
        raise LandmarkError(f"{root} is not a folder. Give --data a folder of photos.")


def _split_folders(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for split, names in FOLDER_NAMES.items():
        for folder in _folders_in(root):
            if folder.name.lower() not in names:
                continue
            if split in found:
                raise LandmarkError(
                    f"{root} has both {found[split].name} and {folder.name}. Keep one of them."
                )
            found[split] = folder
    classes_inside = any(map(_folders_in, found.values()))
    if not found or ("train" not in found and not classes_inside):
        return {"train": root}  # also where a landmark is called "test"
    if "train" not in found:
        raise LandmarkError(
            f"{root} has {', '.join(folder.name for folder in found.values())} but no train "
            "folder. Add train/<class>/<photo>."
        )
    return found


def _folders_in(folder: Path) -> list[Path]:
    """The folders in `folder`, without system folders, sorted."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise LandmarkError(
            f"{folder} cannot be read ({error.strerror}). Check the permissions of the folder."
        ) from error
    return [path for path in inside if path.is_dir() and not is_system_name(path.name)]


def load_unknown(root: Path, splits: Splits) -> tuple[Tables, list[Skipped]]:
    """The photos of no class in train/, validation/ and test/ of `root`, and what was left out.

    Left out is also what is (nearly) identical to a photo in `splits`: it does show a class. Raises
    LandmarkError if there is none of these folders, or one without photos.
    """
    tables, skipped = {}, []
    known = [path for _, table in splits.items() for path in table["path"]]
    hashes = [bits for _, table in splits.items() for bits in table["difference_hash"]]
    for split in SPLITS:
        if not (root / split).is_dir():
            continue
        table, left_out = read_photos(root / split, root, by_class=False)
        skipped += left_out
        pairs = near_pairs([*hashes, *table["difference_hash"]])
        twins = {j - len(known): known[i] for i, j in pairs if i < len(known) <= j}
        for row, twin in sorted(twins.items()):
            name = "/".join(Path(twin).parts[-3:])
            reason = f"(nearly) identical to {name}, a photo of a known class"
            skipped.append(_skip(Path(table["path"][row]), root, reason))
        tables[split] = table.select([row for row in range(len(table)) if row not in twins])
        if not len(tables[split]):
            raise LandmarkError(
                f"{root / split} holds only photos of known classes. Put others there that show "
                "none of the landmarks, or remove the folder."
            )
    if not tables:
        raise LandmarkError(
            f"{root} has none of the folders {', '.join(SPLITS)}. Put photos that show none "
            "of the landmarks there: train/ for learning, validation/ and test/ for measuring."
        )
    return tables, skipped


def _skip(path: Path, root: Path, reason: str) -> Skipped:
    return Skipped(printable(path.relative_to(root).as_posix()), printable(reason))


def _outside(root: Path, folders: dict[str, Path]) -> list[Skipped]:
    """The photos beside the split folders, and what is skipped there."""
    if root in folders.values():
        return []
    found = find_photos(root)
    inside = tuple(folders.values())
    lost = [path for path in found.paths if not any(map(path.is_relative_to, inside))]
    split_names = {printable(folder.name) for folder in inside}
    left_out = found.skipped + found.failed
    beside = [item for item in left_out if item.path.partition("/")[0] not in split_names]
    reason = "lies outside the split folders; move it into one"
    return beside + [_skip(path, root, reason) for path in lost]


def read_photos(folder: Path, root: Path, by_class: bool = True) -> tuple[Table, list[Skipped]]:
    """The readable photos under `folder`, as a table, and the files left out, named from `root`.

    With `by_class`, a photo's class is the folder in `folder` that it is in; else it has none, and
    the label -1. Raises LandmarkError if no photo can be used.
    """
    found = find_photos(folder, root)
    skipped, paths = found.skipped + found.failed, []
    for path in found.paths:
        if by_class and path.parent == folder:
            skipped.append(_skip(path, root, "lies outside the class folders; move it into one"))
        elif not _is_text(path):
            skipped.append(_skip(path, root, "has a name that is not UTF-8; rename it"))
        else:
            paths.append(path)
    if not paths:
        hint = f" The first file: {skipped[0].path}: {skipped[0].reason}." if skipped else ""
        layout = f"{folder.name}/<class>/<photo>.jpg" if by_class else f"{folder.name}/<photo>.jpg"
        raise LandmarkError(f"{folder} holds no photos. Lay them out as {layout}.{hint}")
    table = Table.from_dict({"path": [str(path) for path in paths]})
    stamps = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
    table = _map_once(table, _inspect, " ".join(["inspect 4", *stamps]), f"Reading {folder.name}")
    for path, problem in zip(paths, table["problem"], strict=True):
        if problem:
            skipped.append(_skip(path, root, problem))
    readable = [row for row, problem in enumerate(table["problem"]) if not problem]
    if not readable:
        raise LandmarkError(
            f"None of the {len(table)} photos in {folder} can be used. "
            f"The first: {skipped[0].path}: {skipped[0].reason}"
        )
    table = table.select(readable)
    if not by_class:
        return table.add_column("label", [-1] * len(table)), skipped
    names = [paths[row].relative_to(folder).parts[0] for row in readable]
    return table.add_column("class_name", names), skipped


def _is_text(path: Path) -> bool:
    return str(path).encode(errors="replace").decode() == str(path)


def _map_once(
    table: Table, function: Callable[[dict], dict], key: str, doing: str, drop: Sequence[str] = ()
) -> Table:
    """`table` with what `function` makes of each row, kept on disk and found there by its `key`."""
    fingerprint = hashlib.sha256(key.encode()).hexdigest()[:16]
    kept = Path(datasets.config.HF_DATASETS_CACHE) / "landmark_model"
    kept.mkdir(parents=True, exist_ok=True)
    return table.map(
        function,
        remove_columns=[*drop],
        new_fingerprint=fingerprint,
        cache_file_name=str(kept / f"{fingerprint}.arrow"),
        # Starting helpers takes seconds; a few hundred photos are read sooner by one process.
        num_proc=min(8, torch.get_num_threads()) if len(table) >= 400 else None,
        desc=printable(doing),
    )


def _inspect(row: dict) -> dict:
    """The facts that report and splits need about a photo: size, hashes, channel moments."""
    path = Path(row["path"])
    found = {
        "problem": "",
        "sha256": "",
        "difference_hash": b"",
        "width": 0,
        "height": 0,
        "mean": [0.0] * 3,
        "mean_square": [0.0] * 3,
    }
    try:
        photo = open_photo(path)
    except LandmarkError as error:
        return found | {"problem": str(error)}
    small = photo.copy()
    small.thumbnail((256, 256))
    pixels = np.asarray(small, dtype=np.float64).reshape(-1, 3) / 255
    return found | {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "difference_hash": difference_hash(photo),
        "width": photo.width,
        "height": photo.height,
        "mean": pixels.mean(0).tolist(),
        "mean_square": (pixels**2).mean(0).tolist(),
    }


def difference_hash(photo: Image.Image) -> bytes:
    """256 bits (32 bytes): whether each cell of a 16 x 16 grid is brighter than its left neighbour.

    Photos that differ only in size, compression or small edits have hashes few bits apart
    (Krawetz, "Kind of like that", 2013).
    """
    grid = np.asarray(photo.convert("L").resize((17, 16), Image.Resampling.BOX), dtype=np.int16)
    # More than a rounding error brighter: flat sky would otherwise give other bits in every copy.
    return np.packbits(grid[:, 1:] > grid[:, :-1] + 2).tobytes()


def near_pairs(hashes: list[bytes]) -> list[tuple[int, int]]:
    """Index pairs (i < j) whose difference hashes are at most 24 of 256 bits apart."""
    if not hashes:
        return []
    words = np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(len(hashes), 4)
    pairs = []
    for i in range(len(words) - 1):
        apart = np.bitwise_count(words[i + 1 :] ^ words[i]).sum(1)
        pairs += [(i, i + 1 + int(j)) for j in np.flatnonzero(apart <= NEAR_BITS)]
    return pairs


def _require_classes(table: Table, root: Path, skipped: list[Skipped]) -> None:
    names = table.unique("class_name")
    if len(names) < 2:
        also = f" ({len(skipped)} files were skipped)" if skipped else ""
        raise LandmarkError(
            f"{root} has one class, {names[0]}{also}; a classifier needs two or more. "
            "Make one folder for each landmark."
        )


def _number(table: Table, names: list[str]) -> Table:
    labels = [names.index(name) for name in table["class_name"]]
    return table.add_column("label", labels)


def _cut_off(table: Table, names: list[str], share: float, seed: int) -> tuple[Table, Table]:
    """`table` without and with only a `share` of each class; copies stay together."""
    pairs = np.array(near_pairs(table["difference_hash"]), dtype=np.int64).reshape(-1, 2)
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(table), len(table)))
    group_of = connected_components(links, directed=False)[1]
    # Sorted by content: the split must not depend on the order in which a disk lists its files.
    order = sorted(range(len(table)), key=table["sha256"].__getitem__)
    random = np.random.default_rng(seed)
    labels = np.array(table["label"])
    taken: set[int] = set()
    for label, name in enumerate(names):
        groups = list(dict.fromkeys(int(group_of[row]) for row in order if labels[row] == label))
        groups = [group for group in groups if group not in taken]
        if len(groups) < 2:
            raise LandmarkError(
                f"{name} has too few different photos to split ({(labels == label).sum()} "
                "files left). Each class needs 3 or more, copies not counted. Add photos or "
                "remove the folder."
            )
        count = min(max(1, round(share * len(groups))), len(groups) - 1)
        taken.update(random.permutation(groups)[:count].tolist())
    cut = np.isin(group_of, list(taken))
    return table.select(np.flatnonzero(~cut)), table.select(np.flatnonzero(cut))


def _require_every_class(splits: Splits, allow_missing: bool) -> None:
    for split, table in splits.items():
        missing = sorted(set(splits.class_names) - set(table.unique("class_name")))
        if not missing or (allow_missing and split != "train"):
            continue
        way_out = "" if split == "train" else ", or pass --allow-missing"
        raise LandmarkError(
            f"The {split} split has no usable photo of {', '.join(missing[:5])}"
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}. "
            f"Add photos there, remove the class from the other splits{way_out}."
        )


class PhotoSet(TorchDataset):
    """A split as torch dataset of (image, label): decoded and cut once, varied on every access."""

    def __init__(
        self,
        table: Table,
        prepare: Callable[[Image.Image], Image.Image],
        vary: Callable[[Image.Image], torch.Tensor],
        cache_key: str,
    ) -> None:
        """`prepare` runs once for each photo, `vary` on every access.

        `cache_key` names what `prepare` does: an earlier run's pixels of the same files' content
        and the same key are found again, wherever the files lie now.
        """
        key = " ".join([cache_key, *table["sha256"]])
        self.key = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.labels: list[int] = list(table["label"])
        self.vary = vary

        def keep_pixels(row: dict) -> dict:
            photo = prepare(open_photo(row["path"]))
            return {"pixels": photo.tobytes(), "width": photo.width, "height": photo.height}

        paths = table.select_columns(["path"])  # not kept: the folder may have moved since
        self.pixels = _map_once(paths, keep_pixels, key, "Shrinking photos", ["path"])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.vary(self.photo(index)), self.labels[index]

    def photo(self, index: int) -> Image.Image:
        """The decoded, not yet varied photo."""
        row = self.pixels[index]
        return Image.frombytes("RGB", (row["width"], row["height"]), row["pixels"])


def seen_photos(table: Table, config: ModelConfig) -> PhotoSet:
    """A split as the network sees it in evaluation."""
    return PhotoSet(
        table,
        partial(cut_view, config=config),
        partial(normalise, config=config),
        f"{config.view} {config.image_size} {config.crop_pct}",
    )


def make_batches(
    photos: PhotoSet, batch_size: int, shuffle: bool, worker_count: int, balance: float = 0.0
) -> DataLoader:
    """Batches of images (N, 3, H, W) and labels (N,); the images of unshuffled ones are
    `tensors_by_shape`.

    Unshuffled batches cover every photo once. Shuffled ones all have the same size, as batch norm
    likes it, and there are at least `MIN_BATCHES`: few photos are shown several times an epoch.
    `balance` draws photos of rare classes more often: 0 each photo alike, 1 each class, values
    between them the power in between (0.5: Mahajan et al. 2018).
    """
    batch_size = min(batch_size, len(photos))
    sampler = None
    if shuffle:
        drawn = max(len(photos), MIN_BATCHES * batch_size)
        count = Counter(photos.labels)
        weights = [count[label] ** -balance for label in photos.labels]
        sampler = (
            WeightedRandomSampler(weights, drawn)
            if balance > 0
            else RandomSampler(photos, num_samples=drawn)
        )
    return DataLoader(
        photos,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=shuffle,
        num_workers=worker_count,
        collate_fn=None if shuffle else _join,
    )


def _join(rows: list[tuple]) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
    """A batch of photos of any shape: images by shape, labels (N,)."""
    images, labels = zip(*rows, strict=True)
    return tensors_by_shape(images), torch.tensor(labels)
