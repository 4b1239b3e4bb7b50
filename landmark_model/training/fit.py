"""Fits a network and measures it, on whatever Accelerate finds: CPU, one GPU, or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count, repeat
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from landmark_model.config import LandmarkError
from landmark_model.networks import run_by_shape
from landmark_model.training.augment import mix_transform
from landmark_model.training.checkpoint import (
    CHECKPOINT_NAME,
    get_moments,
    read_about,
    read_parts,
    set_moments,
    write_checkpoint,
)
from landmark_model.training.metrics import Metrics, measure
from landmark_model.training.recipes import Recipe
from landmark_model.training.session import Session

# Numbers of a recipe that a resumed run may change: how photos are seen when the network answers.
ANSWERING = ("image_size", "view", "interpolation")


@dataclass(frozen=True)
class Batches:
    """The training data: shuffled training photos, validation photos, unknown photos.

    Training batches are images (N, 3, H, W) and labels (N,); of `unknown`, if there are any, the
    labels are not looked at. Validation batches are unshuffled, their images `by_shape`.
    """

    train: DataLoader
    validation: DataLoader
    unknown: DataLoader | None = None


@dataclass(frozen=True)
class Epoch:
    """One line of the training curve. `train_loss` is of blended photos, so it stays high."""

    number: int
    train_loss: float
    validation_loss: float
    validation_top1: float
    lr: float
    seconds: float


@dataclass
class Progress:
    """The progress of a run; saved in the checkpoint, so that a killed run can resume."""

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0

    def is_best(self) -> bool:
        """Whether the last epoch beats all before it: by top-1, then by loss."""
        ranks = [(epoch.validation_top1, -epoch.validation_loss) for epoch in self.epochs]
        return ranks[-1] >= max(ranks)

    def last_line(self, epoch_count: int) -> str:
        """The last epoch, for people."""
        last = self.epochs[-1]
        return (
            f"epoch {last.number:3d}/{epoch_count}  train loss {last.train_loss:.3f}  validation "
            f"loss {last.validation_loss:.3f}  top-1 {last.validation_top1:6.1%}  "
            f"{last.seconds:.0f} s{'  best' if self.best_epoch == last.number else ''}"
        )


def learning_rate_factor(step: int, step_count: int, warmup: float) -> float:
    """The share of the peak learning rate at `step`: linear warm-up, then half a cosine to 1 %."""
    rise = max(1, round(warmup * step_count))
    if step < rise:
        return (step + 1) / rise
    done = (step - rise) / max(1, step_count - rise)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def fit(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    recipe: Recipe,
    session: Session,
    teacher: nn.Module | None = None,
) -> Progress:
    """Trains `network` in place; it ends with the averaged weights of the best validation epoch.

    The rates of `optimizer` are the peaks; `teacher` makes logits (N, C) of images (N, 3, H, W). A
    checkpoint follows every epoch; resumed, a run ends as if never stopped, to the last bit.
    Raises LandmarkError on a loss that is no number, or another run's checkpoint.
    """
    accelerator = session.accelerator
    state = State(network, optimizer, recipe, session)
    objective = Objective(network, recipe, accelerator, teacher)
    trained, optimizer, train, validation, unknown = accelerator.prepare(
        network, optimizer, batches.train, batches.validation, batches.unknown
    )
    step, step_count = state.epoch_count * len(train), recipe.epochs * len(train)
    with _progress_bar(step, step_count, accelerator) as bar:
        for epoch in range(state.epoch_count + 1, recipe.epochs + 1):
            began, total = time.monotonic(), torch.zeros((), device=accelerator.device)
            trained.train()
            for images, labels, unknowns in _draw(train, unknown, epoch, session.seed):
                set_rate(optimizer, learning_rate_factor(step, step_count, recipe.warmup))
                loss = objective(trained, images, labels, unknowns)
                _require_finite(loss, step := step + 1, step_count)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(trained.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                state.average.update_parameters(network)
                total += loss.detach()
                bar.update()
            scores = _validate(state.average.module, validation, accelerator)
            state.end_epoch(total / len(train), scores, time.monotonic() - began)
    state.restore_best(trained)
    return state.progress


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets the rate of every group to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_lr"]


def _progress_bar(done: int, total: int, accelerator: Accelerator) -> tqdm:
    quiet = not accelerator.is_main_process
    return tqdm(desc="Training", unit="batch", total=total, initial=done, disable=quiet)


def _draw(
    train: DataLoader, unknown: DataLoader | None, epoch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """The batches of an epoch: images (N, 3, H, W), labels (N,), and images (M, 3, H, W) of unknown
    photos, or None."""
    # From the epoch's number alone: a resumed run draws what the unbroken one would have.
    set_seed(seed * 100_003 + epoch, device_specific=True)
    train.set_epoch(epoch)
    unknowns = repeat(None) if unknown is None else _endless(unknown, epoch)
    for images, labels in train:
        yield images, labels, next(unknowns)


def _endless(unknown: DataLoader, epoch: int) -> Iterator[Tensor]:
    for again in count():
        unknown.set_epoch(1000 * epoch + again)
        for images, _ in unknown:
            yield images


def _require_finite(loss: Tensor, step: int, step_count: int) -> None:
    if not torch.isfinite(loss):
        raise LandmarkError(
            f"The loss is {loss.item()} at step {step} of {step_count}. The weights of the last "
            "whole epoch are in the checkpoint; try a lower --lr."
        )


def _validate(network: nn.Module, batches: DataLoader, accelerator: Accelerator) -> Metrics:
    # Batch-norm statistics differ between processes; all must measure the same network.
    for buffer in network.buffers():
        broadcast(buffer)
    with accelerator.autocast():
        logits, labels = compute_outputs(network.eval(), batches, accelerator)
    return measure(logits.numpy(), labels.numpy(), tuple(map(str, range(logits.shape[1]))))


class Objective:
    """The loss of a batch: labels, teacher, and outlier exposure on unknown photos."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        accelerator: Accelerator,
        teacher: nn.Module | None = None,
    ) -> None:
        self.recipe, self.accelerator = recipe, accelerator
        self.mix = mix_transform(network.get_classifier().out_features, recipe.mixup)
        self.teacher = teacher and teacher.to(accelerator.device, memory_format=torch.channels_last)

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, unknowns: Tensor | None
    ) -> Tensor:
        """The loss of `network` on images (N, 3, H, W) with labels (N,), some of them blended.

        `unknowns` (M, 3, H, W), if any, show no class: each class is to be as probable for them
        (outlier exposure: Hendrycks et al. 2019).
        """
        images, soft_labels = self.mix(images, labels)
        if unknowns is not None:
            uniform = soft_labels.new_full((len(unknowns), soft_labels.shape[1]), 1.0)
            soft_labels = torch.cat([soft_labels, uniform / soft_labels.shape[1]])
            images = torch.cat([images, unknowns])
        images = images.to(memory_format=torch.channels_last)
        logits = network(images)
        loss = nn.functional.cross_entropy(
            logits, soft_labels, label_smoothing=self.recipe.label_smoothing
        )
        if self.teacher is None:
            return loss
        with self.accelerator.autocast():
            told = self.teacher(images[: len(labels)])
        weight = self.recipe.distillation
        return (1 - weight) * loss + weight * self._distil(logits, told, soft_labels[len(labels) :])

    def _distil(self, logits: Tensor, told: Tensor, of_unknowns: Tensor) -> Tensor:
        """Cross-entropy of softened logits with the teacher's answers, and of unknowns as is."""
        temperature = self.recipe.distillation_temperature
        wanted = torch.cat([(told.float() / temperature).softmax(1), of_unknowns])
        # Times the temperature squared, so that gradients keep their size (Hinton et al. 2015).
        return nn.functional.cross_entropy(logits / temperature, wanted) * temperature**2


def _rising_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """An exponential moving average whose decay rises to `decay`, updated in place.

    In a short run a constant one would remember the random start (as timm's ModelEmaV3 warms up).
    """

    def average(means: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        rising = (1 + count.item()) / (10 + count.item())
        get_ema_multi_avg_fn(min(decay, rising))(means, values, count)

    return average


class State:
    """The state that must survive a kill: weights, their average, the best ones, moments, progress.

    With `session.resume` it is that of the checkpoint. Raises LandmarkError if this is missing,
    damaged, or of another run.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        session: Session,
    ) -> None:
        device = session.accelerator.device
        self.network = network.to(device, memory_format=torch.channels_last)
        self.optimizer, self.recipe, self.session = optimizer, recipe, session
        self.average = AveragedModel(
            self.network, multi_avg_fn=_rising_average(recipe.ema_decay), use_buffers=True
        )
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
        if session.resume:
            self._load(session.folder)

    @property
    def epoch_count(self) -> int:
        """How many epochs are done."""
        return len(self.progress.epochs)

    def end_epoch(self, train_loss: Tensor, scores: Metrics, seconds: float) -> None:
        """Records an epoch, keeps the averaged weights if they are best, writes a checkpoint."""
        accelerator, progress = self.session.accelerator, self.progress
        number, lr = self.epoch_count + 1, max(group["lr"] for group in self.optimizer.param_groups)
        loss = accelerator.reduce(train_loss, "mean").item()
        progress.epochs.append(Epoch(number, loss, scores.loss, scores.top1, lr, seconds))
        if progress.is_best():
            progress.best_epoch = number
            averaged = self.average.module.state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in averaged.items()}
        if accelerator.is_main_process:
            self._save(self.session.folder)
            tqdm.write(progress.last_line(self.recipe.epochs))
        accelerator.wait_for_everyone()

    def restore_best(self, trained: nn.Module) -> None:
        """Fills the network, which Accelerate made `trained` of, with its best averaged weights."""
        # Takes off what Accelerate put around forward: the final figures are of float32 arithmetic.
        self.session.accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
        self.network.load_state_dict(self.best)

    def _save(self, folder: Path) -> None:
        alike = must_be_alike(self.recipe, self.session.seed)
        precision = self.session.accelerator.mixed_precision
        about = {"recipe": alike, "precision": precision, "progress": asdict(self.progress)}
        parts = {
            "network": self.network.state_dict(),
            "average": self.average.module.state_dict(),
            "average_count": {"": self.average.n_averaged},
            "best": self.best,
            "optimizer": get_moments(self.optimizer),
        }
        write_checkpoint(folder, about, parts)

    def _load(self, folder: Path) -> None:
        about, parts = read_about(folder), read_parts(folder)
        require_same_run(about, self.recipe, self.session.seed)
        try:
            self.network.load_state_dict(parts["network"])
            self.average.module.load_state_dict(parts["average"])
        except RuntimeError as error:
            raise LandmarkError(
                f"{CHECKPOINT_NAME} is of another network or other classes. Use its folder only "
                "for the run that wrote it, or start again without --resume."
            ) from error
        self.average.n_averaged.copy_(parts["average_count"][""])
        self.best = parts["best"]
        set_moments(self.optimizer, parts.get("optimizer", {}))
        epochs = [Epoch(**epoch) for epoch in about["progress"]["epochs"]]
        self.progress = Progress(epochs, about["progress"]["best_epoch"])


def must_be_alike(recipe: Recipe, seed: int) -> dict[str, object]:
    """What must be the same when a run resumes; how photos are evaluated may change."""
    kept = asdict(recipe) | {"seed": seed}
    return {name: kept[name] for name in kept if name not in ANSWERING}


def require_same_run(about: dict, recipe: Recipe, seed: int) -> None:
    """Raises LandmarkError if the run that a checkpoint is `about` learned otherwise."""
    before, now = about["recipe"], must_be_alike(recipe, seed)
    changed = sorted(name for name, value in now.items() if before.get(name) != value)
    if changed:
        told = ", ".join(f"{name} {before.get(name, 'unknown')}" for name in changed)
        raise LandmarkError(
            f"{CHECKPOINT_NAME} was trained with {told}. Give the same options, or start again "
            "without --resume."
        )


@torch.inference_mode()
def compute_outputs(
    forward: Callable[[Tensor], Tensor], batches: Iterable, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """What `forward` makes (N, D) and labels (N,) of every photo in the unshuffled `batches`, each
    once, on the CPU. `forward` is a network in evaluation mode, or its part that gives features."""
    outputs = []
    for images, labels in batches:
        found = run_by_shape(forward, images, accelerator.device)
        outputs.append(accelerator.gather_for_metrics((found, labels)))
    values, labels = (torch.cat(parts).cpu() for parts in zip(*outputs, strict=True))
    return values, labels
