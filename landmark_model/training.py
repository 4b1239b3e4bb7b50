"""Fits a network and measures it, on whatever Accelerate finds: CPU, one GPU, or several."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import broadcast, set_seed
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from landmark_model.config import LandmarkError
from landmark_model.files import staged
from landmark_model.metrics import Metrics, measure

CHECKPOINT_NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Recipe:
    """How to fit. `lr` is the peak learning rate; `warmup` the share of all steps spent rising."""

    epochs: int = 40
    batch_size: int = 64
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    layer_decay: float = 0.4
    warmup: float = 0.08
    label_smoothing: float = 0.1
    mixup: float = 0.2
    cutmix: float = 0.0
    ema_decay: float = 0.99
    seed: int = 0


RECIPES = {
    "resnet18": Recipe(),
    "landmark_cnn": Recipe(
        epochs=160, lr=2e-3, weight_decay=0.1, layer_decay=1.0, cutmix=1.0, ema_decay=0.995
    ),
}


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
    """How far a run has come; saved in the checkpoint, so that a killed run goes on."""

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0

    def is_best(self) -> bool:
        """Whether the last epoch beats all before it: by top-1, then by loss."""
        ranks = [(epoch.validation_top1, -epoch.validation_loss) for epoch in self.epochs]
        return ranks[-1] >= max(ranks)


def make_accelerator(precision: str, seed: int) -> Accelerator:
    """The engine. `precision` is "no", "bf16", "fp16", or "auto": bf16 where it is fast."""
    set_seed(seed)
    if precision == "auto":
        precision = "bf16" if _has_fast_bf16() else "no"
    return Accelerator(
        mixed_precision=precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=seed),
    )


def _has_fast_bf16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported()  # other CPUs emulate it, slower than float32


def learning_rate_factor(step: int, step_count: int, warmup: float) -> float:
    """The share of the peak learning rate at `step`: linear warm-up, then half a cosine to 1 %."""
    rise = max(1, round(warmup * step_count))
    if step < rise:
        return (step + 1) / rise
    done = (step - rise) / max(1, step_count - rise)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def fit(
    network: nn.Module,
    groups: list[dict],
    batches: DataLoader,
    validation: DataLoader,
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    recipe: Recipe,
    accelerator: Accelerator,
    folder: Path,
    resume: bool = False,
) -> Progress:
    """Trains `network` in place; it ends with the averaged weights of the best validation epoch.

    `groups` are the optimizer's parameter groups, `mix` turns a batch into blended images and soft
    labels (N, C). A checkpoint in `folder` is written after every epoch; `resume` goes on from it
    with the same outcome as a run that was never stopped, to the last bit on the same machine.
    Raises LandmarkError where the loss is no longer a number.
    """
    network = network.to(accelerator.device, memory_format=torch.channels_last)
    average = AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True
    )
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    trained, optimizer, batches, validation = accelerator.prepare(
        network, optimizer, batches, validation
    )
    state = _State(network, average, optimizer, recipe)
    if resume:
        state.load(folder / CHECKPOINT_NAME)
    progress = state.progress
    step_count = recipe.epochs * len(batches)
    bar = tqdm(
        total=step_count,
        initial=len(progress.epochs) * len(batches),
        desc="Training",
        unit="batch",
        disable=not accelerator.is_main_process,
    )
    for number in range(len(progress.epochs) + 1, recipe.epochs + 1):
        started = time.monotonic()
        # From the epoch's number alone: a resumed run draws what the unbroken one would have.
        set_seed(recipe.seed * 100_003 + number, device_specific=True)
        batches.set_epoch(number)
        loss = _train_epoch(trained, state, batches, mix, accelerator, bar, step_count)
        scores = _validate(average, validation, accelerator)
        lr = max(group["lr"] for group in optimizer.param_groups)
        seconds = time.monotonic() - started
        progress.epochs.append(Epoch(number, loss, scores.loss, scores.top1, lr, seconds))
        if progress.is_best():
            progress.best_epoch = number
            state.keep_best()
        if accelerator.is_main_process:
            state.save(folder)
            tqdm.write(
                f"epoch {number:3d}/{recipe.epochs}  train loss {loss:.3f}  validation loss "
                f"{scores.loss:.3f}  top-1 {scores.top1:6.1%}  {seconds:.0f} s"
                f"{'  best' if progress.best_epoch == number else ''}"
            )
        accelerator.wait_for_everyone()
    bar.close()
    # Takes off what Accelerate put around forward: the final figures are of float32 arithmetic.
    accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
    network.load_state_dict(state.best)
    return progress


class _State:
    """All that must survive a kill, and how it is stored: one safetensors file, never a pickle."""

    def __init__(self, network: nn.Module, average: AveragedModel, optimizer, recipe: Recipe):
        self.network, self.average, self.optimizer = network, average, optimizer
        self.recipe = recipe
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()

    def keep_best(self) -> None:
        self.best = {k: v.detach().clone() for k, v in self.average.module.state_dict().items()}

    def save(self, folder: Path) -> None:
        tensors = {"average_count": self.average.n_averaged}
        for part, values in (
            ("network", self.network.state_dict()),
            ("average", self.average.module.state_dict()),
            ("best", self.best),
        ):
            tensors |= {f"{part}/{name}": tensor for name, tensor in values.items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in values.items()}
        about = {"recipe": asdict(self.recipe), "progress": asdict(self.progress)}
        with staged(folder) as scratch:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()},
                scratch / CHECKPOINT_NAME,
                metadata={"about": json.dumps(about)},
            )

    def load(self, path: Path) -> None:
        if not path.is_file():
            raise LandmarkError(f"{path} does not exist: nothing to resume. Leave out --resume.")
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            parts: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118 (not a dict)
                part, _, name = key.partition("/")
                parts.setdefault(part, {})[name] = file.get_tensor(key)
        changed = {k for k, v in asdict(self.recipe).items() if about["recipe"].get(k) != v}
        if changed:
            raise LandmarkError(
                f"{path.name} was written with other settings of {', '.join(sorted(changed))}. "
                "Resume with the same settings, or start anew without --resume."
            )
        self.network.load_state_dict(parts["network"])
        self.average.module.load_state_dict(parts["average"])
        self.average.n_averaged.copy_(parts["average_count"][""])
        self.best = parts["best"]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts.get("optimizer", {}).items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        epochs = [Epoch(**epoch) for epoch in about["progress"]["epochs"]]
        self.progress = Progress(epochs, about["progress"]["best_epoch"])


def _train_epoch(trained, state, batches, mix, accelerator, bar, step_count) -> float:
    """One pass over the training photos; the mean loss."""
    recipe, optimizer = state.recipe, state.optimizer
    first_step = len(state.progress.epochs) * len(batches)
    trained.train()
    total = torch.zeros((), device=accelerator.device)
    for step, (images, labels) in enumerate(batches, start=first_step):
        factor = learning_rate_factor(step, step_count, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        images, soft_labels = mix(images, labels)
        logits = trained(images.to(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(
            logits, soft_labels, label_smoothing=recipe.label_smoothing
        )
        if not torch.isfinite(loss):
            raise LandmarkError(
                f"The loss is {loss.item()} at step {step + 1} of {step_count}. The weights of the "
                "last whole epoch are in the checkpoint; try a lower --lr."
            )
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        state.average.update_parameters(state.network)
        total += loss.detach()
        bar.update()
    return accelerator.reduce(total, "mean").item() / len(batches)


def _validate(average: AveragedModel, validation: Iterable, accelerator: Accelerator) -> Metrics:
    # Batch-norm statistics differ between processes; all must measure the same network.
    for buffer in average.module.buffers():
        broadcast(buffer)
    with accelerator.autocast():
        logits, labels = compute_logits(average.module, validation, accelerator)
    return measure(logits, labels, tuple(map(str, range(logits.shape[1]))))


@torch.inference_mode()
def compute_logits(
    network: nn.Module, batches: Iterable, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and labels (N,) of every photo in `batches`, each once, on the CPU."""
    network.eval()
    outputs = []
    for images, labels in batches:
        images = images.to(accelerator.device, memory_format=torch.channels_last)
        outputs.append(accelerator.gather_for_metrics((network(images).float(), labels)))
    logits, labels = (torch.cat(parts).cpu() for parts in zip(*outputs, strict=True))
    return logits, labels
