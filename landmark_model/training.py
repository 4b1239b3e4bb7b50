"""Fits a network and measures it, on whatever Accelerate finds: CPU, one GPU, or several."""

from __future__ import annotations

import ctypes
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import broadcast, set_seed
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from landmark_model.config import LandmarkError
from landmark_model.files import staged
from landmark_model.metrics import Metrics, measure
from landmark_model.networks import has_fast_bf16, mean_of_views

CHECKPOINT_NAME = "checkpoint.safetensors"
Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """How to fit. `lr` is the peak learning rate; `warmup` the share of all steps spent rising."""

    epochs: int = 40
    batch_size: int = 64
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    layer_decay: float = 0.4
    muon: float = 0.0
    warmup: float = 0.08
    label_smoothing: float = 0.1
    mixup: float = 0.2
    cutmix: float = 0.0
    ema_decay: float = 0.99
    balance: float = 0.0
    frozen_layers: int = 0
    frozen_epochs: int = 0
    distillation: float = 0.9
    distillation_temperature: float = 2.0
    feature_distillation: float = 0.0
    outlier_share: float = 0.25
    seed: int = 0


LITE = Recipe(epochs=30, layer_decay=0.6, cutmix=1.0, balance=0.5, frozen_layers=3)
RECIPES = {
    "resnet18": Recipe(epochs=50, muon=3.0, cutmix=1.0, balance=0.5),
    "landmark_cnn": Recipe(
        epochs=160,
        lr=2e-3,
        weight_decay=0.1,
        layer_decay=1.0,
        muon=3.0,
        cutmix=1.0,
        ema_decay=0.995,
    ),
    "tf_efficientnet_lite2": LITE,
    "tf_efficientnet_lite0": LITE,
}
# From scratch in few epochs, photos that are made hard on purpose cost more than they teach, and
# small batches, which are more steps, teach more.
FEW_EPOCHS = 60
SHORT = replace(RECIPES["landmark_cnn"], batch_size=16, mixup=0.0, cutmix=0.0, ema_decay=0.9)
# For a last layer alone, on the features of a frozen network: the quick mode.
QUICK = Recipe(epochs=60, lr=3e-3, layer_decay=1.0, label_smoothing=0.0, mixup=0.0, balance=0.5)


def choose_recipe(network: str, epochs: int | None, from_scratch: bool) -> Recipe:
    """The recipe that `network` likes: SHORT for few epochs from scratch."""
    few = epochs is not None and epochs < FEW_EPOCHS
    return SHORT if network == "landmark_cnn" and from_scratch and few else RECIPES[network]


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
    """How far a run has come; saved in the checkpoint, so that a killed run goes on.

    `seconds_before` is what was done before the first epoch: features of a frozen network.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    seconds_before: float = 0.0

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


def make_accelerator(precision: str, seed: int) -> Accelerator:
    """The engine. `precision` is "no", "bf16", "fp16", or "auto": bf16 where it is fast."""
    set_seed(seed)
    keep_freed_memory()
    if precision == "auto":
        precision = "bf16" if has_fast_bf16() else "no"
    return Accelerator(
        mixed_precision=precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=seed),
    )


def name_precision(precision: str) -> str:
    """What people call the `precision` of an accelerator: its "no" is float32."""
    return "float32" if precision == "no" else precision


def keep_freed_memory() -> None:
    """Has glibc keep the memory of large tensors for the next ones, as man mallopt(3) says how.

    By default it goes back to the kernel, which zeroes every page of it anew at the next step: on a
    CPU much of the time of one.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another libc
        return
    m_trim_threshold, m_mmap_max = -1, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)


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
    batches: DataLoader,
    validation: DataLoader,
    mix: Mix,
    recipe: Recipe,
    accelerator: Accelerator,
    folder: Path,
    resume: bool = False,
    before_epoch: Callable[[int], object] = lambda number: None,
    teacher: nn.Module | None = None,
    outliers: DataLoader | None = None,
    setting: dict | None = None,
) -> Progress:
    """Trains `network` in place; it ends with the averaged weights of the best validation epoch.

    The rates of `optimizer` are the peaks; `mix` makes blended images and soft labels (N, C) of a
    batch. A checkpoint in `folder` follows every epoch; `resume` goes on from it as if never
    stopped, to the last bit on the same machine. `before_epoch` gets its number (1, 2, ...);
    `teacher` gives logits, and to a Pupil features; `outliers` images of no class; `setting` is
    what else may not change. Raises LandmarkError on a NaN loss, or a checkpoint of another run.
    """
    run = _Run(network, optimizer, batches, validation, mix, recipe, accelerator, teacher, outliers)
    run.alike |= setting or {}
    if resume:
        run.load(folder / CHECKPOINT_NAME)
    total, done, quiet = run.step_count, run.steps_done, not accelerator.is_main_process
    with tqdm(desc="Training", unit="batch", total=total, initial=done, disable=quiet) as bar:
        while len(run.progress.epochs) < recipe.epochs:
            before_epoch(len(run.progress.epochs) + 1)
            run.epoch(bar.update)
            if accelerator.is_main_process:
                run.save(folder)
                tqdm.write(run.progress.last_line(recipe.epochs))
            accelerator.wait_for_everyone()
    # Takes off what Accelerate put around forward: the final figures are of float32 arithmetic.
    accelerator.unwrap_model(run.trained, keep_fp32_wrapper=False)
    network.load_state_dict(run.best)
    return run.progress


def _rising_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """An exponential moving average whose decay rises to `decay`, updated in place.

    In a short run a constant one would remember the random start (as timm's ModelEmaV3 warms up).
    """

    def average(means: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        rising = (1 + count.item()) / (10 + count.item())
        get_ema_multi_avg_fn(min(decay, rising))(means, values, count)

    return average


class _Run:
    """A training run: what must survive a kill, how it is stored, and one epoch of work."""

    def __init__(
        self, network, optimizer, batches, validation, mix, recipe, accelerator, teacher, outliers
    ) -> None:
        self.network = network.to(accelerator.device, memory_format=torch.channels_last)
        self.average = AveragedModel(
            self.network, multi_avg_fn=_rising_average(recipe.ema_decay), use_buffers=True
        )
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
        self.trained, self.optimizer, self.batches, self.validation = accelerator.prepare(
            self.network, optimizer, batches, validation
        )
        self.mix, self.recipe, self.accelerator = mix, recipe, accelerator
        self.teacher = teacher and teacher.to(accelerator.device, memory_format=torch.channels_last)
        self.outliers = outliers and accelerator.prepare(outliers)
        self.alike = asdict(recipe)  # in every part of a run
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()

    @property
    def step_count(self) -> int:
        """Optimizer steps of the whole run."""
        return self.recipe.epochs * len(self.batches)

    @property
    def frozen_step_count(self) -> int:
        """Steps at the start during which only fresh layers learn."""
        return self.recipe.frozen_epochs * len(self.batches)

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the epochs that are done."""
        return len(self.progress.epochs) * len(self.batches)

    def epoch(self, step_done: Callable[[], object]) -> None:
        """Trains on every photo once, validates, and keeps the weights if they are the best."""
        started = time.monotonic()
        number = len(self.progress.epochs) + 1
        # From the epoch's number alone: a resumed run draws what the unbroken one would have.
        set_seed(self.recipe.seed * 100_003 + number, device_specific=True)
        self.batches.set_epoch(number)
        self.trained.train()
        total = torch.zeros((), device=self.accelerator.device)
        strangers = self._strangers(number)
        for step, (images, labels) in enumerate(self.batches, start=self.steps_done):
            total += self._step(step, images, labels, next(strangers))
            step_done()
        loss = self.accelerator.reduce(total, "mean").item() / len(self.batches)
        scores = self._validate()
        lr = max(group["lr"] for group in self.optimizer.param_groups)
        seconds = time.monotonic() - started
        self.progress.epochs.append(Epoch(number, loss, scores.loss, scores.top1, lr, seconds))
        if self.progress.is_best():
            self.progress.best_epoch = number
            averaged = self.average.module.state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in averaged.items()}

    def _strangers(self, number: int) -> Iterator[Tensor | None]:
        """Images (M, 3, H, W) that show no class, for each step of an epoch; None without any."""
        while self.outliers is None:
            yield None
        for again in count():
            self.outliers.set_epoch(1000 * number + again)
            for images, _ in self.outliers:
                yield images

    def _step(self, step: int, images: Tensor, labels: Tensor, strangers: Tensor | None) -> Tensor:
        """One optimizer step on images (N, 3, H, W) and labels (N,); the loss.

        `strangers` (M, 3, H, W), if any, are shown besides, to be called by every class alike
        (outlier exposure: Hendrycks et al. 2019).
        """
        factor = learning_rate_factor(step, self.step_count, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            waits = group.get("pretrained") and step < self.frozen_step_count
            group["lr"] = 0.0 if waits else group["peak_lr"] * factor
        images, soft_labels = self.mix(images, labels)
        if strangers is not None:
            uniform = soft_labels.new_full((len(strangers), soft_labels.shape[1]), 1.0)
            soft_labels = torch.cat([soft_labels, uniform / soft_labels.shape[1]])
            images = torch.cat([images, strangers])
        images = images.to(memory_format=torch.channels_last)
        loss = self._loss(images, self.trained(images), soft_labels, len(labels))
        if not torch.isfinite(loss):
            raise LandmarkError(
                f"The loss is {loss.item()} at step {step + 1} of {self.step_count}. The weights "
                "of the last whole epoch are in the checkpoint; try a lower --lr."
            )
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.trained.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.network)
        return loss.detach()

    def _loss(
        self,
        images: Tensor,
        answers: Tensor | tuple[Tensor, Tensor],
        soft_labels: Tensor,
        known_count: int,
    ) -> Tensor:
        """Cross-entropy with the labels and, where there is a teacher, with what it tells.

        `answers` are logits or, of a Pupil, logits and guessed features. The first `known_count`
        images show a class: the teacher is asked about these.
        """
        recipe = self.recipe
        logits, guessed = answers if isinstance(answers, tuple) else (answers, None)
        loss = nn.functional.cross_entropy(
            logits, soft_labels, label_smoothing=recipe.label_smoothing
        )
        if self.teacher is None:
            return loss
        with self.accelerator.autocast():
            told, features = self.teacher(images[:known_count])
        told = (told.float() / recipe.distillation_temperature).softmax(1)
        told = torch.cat([told, soft_labels[known_count:]])
        softened = logits / recipe.distillation_temperature
        # Times the temperature squared, so that gradients keep their size (Hinton et al. 2015).
        distilled = nn.functional.cross_entropy(softened, told)
        distilled = distilled * recipe.distillation_temperature**2
        loss = (1 - recipe.distillation) * loss + recipe.distillation * distilled
        if guessed is not None:
            loss = loss + recipe.feature_distillation * _missed(guessed[:known_count], features)
        return loss

    def _validate(self) -> Metrics:
        # Batch-norm statistics differ between processes; all must measure the same network.
        for buffer in self.average.module.buffers():
            broadcast(buffer)
        network = self.average.module.eval()
        with self.accelerator.autocast():
            outputs = compute_outputs(network, self.validation, self.accelerator)
        return measure(*outputs, tuple(map(str, range(outputs[0].shape[1]))))

    def save(self, folder: Path) -> None:
        """Writes the checkpoint."""
        about = {"recipe": self.alike, "progress": asdict(self.progress)}
        parts = {
            "network": self.network.state_dict(),
            "average": self.average.module.state_dict(),
            "average_count": {"": self.average.n_averaged},
            "best": self.best,
            "optimizer": get_moments(self.optimizer),
        }
        write_checkpoint(folder, about, parts)

    def load(self, path: Path) -> None:
        """Goes back to the checkpoint at `path`."""
        about, parts = read_checkpoint(path)
        before = self.alike | asdict(Recipe()) | about["recipe"]
        changed = sorted(name for name, value in self.alike.items() if before[name] != value)
        if changed:
            told = ", ".join(f"--{name.replace('_', '-')} {before[name]}" for name in changed)
            raise LandmarkError(
                f"{path.name} was trained with {told}. Give that, too, or start anew without "
                "--resume."
            )
        try:
            self.network.load_state_dict(parts["network"])
            self.average.module.load_state_dict(parts["average"])
        except RuntimeError as error:
            raise LandmarkError(
                f"{path.name} is of another network or other classes. Use its folder only for "
                "the run it was made by, or start anew without --resume."
            ) from error
        self.average.n_averaged.copy_(parts["average_count"][""])
        self.best = parts["best"]
        set_moments(self.optimizer, parts.get("optimizer", {}))
        epochs = [Epoch(**epoch) for epoch in about["progress"]["epochs"]]
        self.progress = Progress(epochs, about["progress"]["best_epoch"])


def _missed(guessed: Tensor, features: Tensor) -> Tensor:
    """How far the guess (N, D) is from features (N, D); about 1 for one that knows their mean only.

    Each feature counts alike: it is brought to mean 0 and variance 1 over the batch.
    """
    features = nn.functional.batch_norm(features.float(), None, None, training=True)
    return nn.functional.mse_loss(guessed, features)


def get_moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors that `optimizer` remembers of a parameter, by "<parameter's number>/<name>"."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}/{name}": value
        for index, of in state.items()
        for name, value in of.items()
        if isinstance(value, Tensor)  # Muon notes besides which rule moves it, and finds it anew
    }


def set_moments(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    """Gives `optimizer` back what `get_moments` took; its rates and groups stay."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in moments.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def write_checkpoint(folder: Path, about: dict, parts: dict[str, dict[str, Tensor]]) -> None:
    """Writes the checkpoint in `folder`: one safetensors file, never a pickle.

    `about` is anything JSON knows; `parts` are tensors by part and name.
    """
    tensors = {
        f"{part}/{name}": tensor.contiguous()
        for part, values in parts.items()
        for name, tensor in values.items()
    }
    with staged(folder) as scratch:
        content = serialise(tensors, metadata={"about": json.dumps(about)})
        (scratch / CHECKPOINT_NAME).write_bytes(content)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run in `folder` can go on."""
    return (folder / CHECKPOINT_NAME).is_file()


def read_checkpoint(path: Path) -> tuple[dict, dict[str, dict[str, Tensor]]]:
    """What `write_checkpoint` was told: `about`, and the tensors by part and name.

    Raises LandmarkError where the file is missing or something else.
    """
    if not path.is_file():
        raise LandmarkError(f"{path} does not exist: nothing to resume. Leave out --resume.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            parts: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118 (not a dict)
                part, _, name = key.partition("/")
                parts.setdefault(part, {})[name] = file.get_tensor(key)
    except (SafetensorError, TypeError, LookupError, ValueError) as error:
        raise LandmarkError(
            f"{path.name} is not a checkpoint of train.py. Start anew without --resume."
        ) from error
    return about, parts


@torch.inference_mode()
def compute_outputs(
    forward: Callable[[Tensor], Tensor], batches: Iterable, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """What `forward` makes (N, D) and labels (N,) of every photo in the unshuffled `batches`, each
    once, on the CPU: means of what it makes of a photo's images. `forward` is a network in
    evaluation mode, or its part that gives features."""
    outputs = []
    for views, labels in batches:
        found = mean_of_views(forward, views, accelerator.device)
        outputs.append(accelerator.gather_for_metrics((found, labels)))
    values, labels = (torch.cat(parts).cpu() for parts in zip(*outputs, strict=True))
    return values, labels
