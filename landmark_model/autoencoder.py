"""Teaches LandmarkCNN to see before it is told any landmark: by mending photos without labels.

A denoising autoencoder (Vincent et al. 2008): photos are made noisy and partly hidden, and encoder
and decoder together must give back the clean ones. The encoder then starts the classifier.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm

from landmark_model.config import LandmarkError
from landmark_model.data import Skipped, readable_photos
from landmark_model.files import staged
from landmark_model.networks import LandmarkCNN, read_weights
from landmark_model.training import Accelerator, learning_rate_factor
from landmark_model.transforms import shrink

AUTOENCODER_NAME = "autoencoder.safetensors"
PATCH_PX = 16


class Autoencoder(nn.Module):
    """The encoder of a LandmarkCNN, shared with it, and a small decoder: images -> images.

    Images are (N, 3, H, W) of any H and W, normalised as the network expects.
    """

    def __init__(self, network: LandmarkCNN) -> None:
        super().__init__()
        # By the names they have in the network; without `fc`, which mending does not teach.
        self.encoder = nn.Sequential(OrderedDict(stem=network.stem, stages=network.stages))
        self.decoder = nn.Sequential()
        width = network.num_features
        for next_width in (64, 64, 48, 32):  # each doubles the side
            self.decoder.append(nn.Conv2d(width, next_width, 3, padding=1, bias=False))
            self.decoder.append(nn.BatchNorm2d(next_width))
            self.decoder.append(nn.ReLU())
            self.decoder.append(nn.Upsample(scale_factor=2, mode="bilinear"))
            width = next_width
        self.decoder.append(nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        maps = self.encoder(images)  # (N, 3, H, W) -> (N, 320, ceil(H/16), ceil(W/16))
        return self.decoder(maps)[:, :, :height, :width]

    @torch.inference_mode()
    def reconstruction_error(self, images: Tensor) -> Tensor:
        """How badly each of the images (N, 3, H, W) is given back (N,): the mean squared error.

        Nothing is hidden, and the unit is the variance of photos: an image that is given back as
        plain grey has about 1. Photos unlike those it learned from have more than those.
        """
        training = self.training
        try:
            return (self.eval()(images) - images).square().mean((1, 2, 3))
        finally:
            self.train(training)


@dataclass(frozen=True)
class Pretraining:
    """What became of it: photos, skipped files, loss (mean squared error) after each epoch."""

    photo_count: int
    skipped_count: int
    losses: tuple[float, ...]
    seconds: float

    def __str__(self) -> str:
        return f"autoencoder on {self.photo_count:,} photos fills stem, stages; starting fresh: fc"


class UnlabelledPhotos(TorchDataset):
    """The photos anywhere under `folder` as images, shrunk once and kept in memory.

    `vary` turns a photo into an image (3, H, W) on every access; all must have one size. A file
    named like a photo that cannot be read is in `skipped`, with the reason. Raises LandmarkError
    where `folder` is none, or no photo is left.
    """

    def __init__(
        self,
        folder: Path,
        side_px: int,
        vary: Callable[[Image.Image], Tensor],
        show_progress: bool = True,
    ) -> None:
        if not folder.is_dir():
            raise LandmarkError(f"{folder} is not a folder. Give one with photos in it.")
        self.vary = vary
        self.pixels: list[np.ndarray] = []  # each (H, W, 3), uint8
        self.skipped: list[Skipped] = []
        for _, photo in readable_photos(folder, self.skipped, show_progress):
            self.pixels.append(np.asarray(shrink(photo, side_px)))
        if not self.pixels:
            first = f" The first: {self.skipped[0].reason}" if self.skipped else ""
            raise LandmarkError(
                f"{folder} holds no photo that can be read, of {len(self.skipped)} files named "
                f"like one; an autoencoder learns from photos. Put some there.{first}"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.vary(Image.fromarray(self.pixels[index]))


def make_batches(photos: UnlabelledPhotos, batch_size: int, worker_count: int) -> DataLoader:
    """Shuffled batches of images (N, 3, H, W), all of one size, as batch norm likes it."""
    return DataLoader(
        photos,
        min(batch_size, len(photos)),
        shuffle=True,
        drop_last=True,
        num_workers=worker_count,
    )


def corrupt(
    images: Tensor, generator: Generator, noise: float = 0.3, hidden: float = 0.3
) -> Tensor:
    """Images (N, 3, H, W) with Gaussian noise of deviation `noise`, and squares of 16 px hidden.

    A square is hidden with probability `hidden`: it becomes 0, the mean colour of photos. Hidden
    parts are only guessed from what is around them (Pathak et al. 2016), noise by what things look
    like. `generator` is of the images' device.
    """
    count, _, height, width = images.shape
    cells = (count, 1, -(-height // PATCH_PX), -(-width // PATCH_PX))
    shown = torch.rand(cells, generator=generator, device=images.device) >= hidden
    shown = shown.repeat_interleave(PATCH_PX, 2).repeat_interleave(PATCH_PX, 3)
    grain = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + noise * grain) * shown[:, :, :height, :width]


def pretrain(
    autoencoder: Autoencoder,
    batches: DataLoader,
    epochs: int,
    accelerator: Accelerator,
    lr: float = 1e-3,
    seed: int = 0,
) -> list[float]:
    """Trains `autoencoder`, and with it the network it was made of, in place; each epoch's loss.

    AdamW, warm-up and cosine to 1 % of the peak rate `lr`. Raises LandmarkError where the loss is
    no longer a number, naming the step.
    """
    autoencoder.to(accelerator.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=lr, weight_decay=0.05)
    trained, optimizer, batches = accelerator.prepare(autoencoder, optimizer, batches)
    generator = Generator(accelerator.device)
    generator.manual_seed(seed + 2**20 * accelerator.process_index)
    trained.train()
    losses: list[float] = []
    step_count = epochs * len(batches)
    quiet = not accelerator.is_main_process
    with tqdm(total=step_count, desc="Autoencoder", unit="batch", disable=quiet) as bar:
        for epoch in range(epochs):
            batches.set_epoch(epoch)
            total = torch.zeros((), device=accelerator.device)
            for step, images in enumerate(batches, start=epoch * len(batches)):
                rate = lr * learning_rate_factor(step, step_count, warmup=0.08)
                loss = _step(trained, optimizer, rate, images, generator, accelerator)
                total += _require_finite(loss, step, step_count)
                bar.update()
            losses.append(accelerator.reduce(total, "mean").item() / len(batches))
            if not quiet:
                tqdm.write(f"autoencoder epoch {epoch + 1:3d}/{epochs}  loss {losses[-1]:.3f}")
    # Takes off what Accelerate put around, so that the next training finds both as they were.
    accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
    accelerator.free_memory()
    return losses


def _step(trained, optimizer, rate, images, generator, accelerator) -> Tensor:
    """One optimizer step on images (N, 3, H, W); the loss."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    images = images.to(memory_format=torch.channels_last)
    mended = trained(corrupt(images, generator))
    loss = nn.functional.mse_loss(mended.float(), images)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(trained.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def _require_finite(loss: Tensor, step: int, step_count: int) -> Tensor:
    if not torch.isfinite(loss):
        raise LandmarkError(
            f"The autoencoder's loss is {loss.item()} at step {step + 1} of {step_count}. Try "
            "--precision no, or train without --pretrain-autoencoder."
        )
    return loss


def learn_to_see(
    network: LandmarkCNN,
    photos: UnlabelledPhotos,
    batches: DataLoader,
    epochs: int,
    accelerator: Accelerator,
    folder: Path,
    seed: int = 0,
) -> Pretraining:
    """Fills the encoder of `network` by what the `batches` of `photos` teach an autoencoder.

    Writes the autoencoder to `folder`.
    """
    started = time.monotonic()
    autoencoder = Autoencoder(network)
    losses = pretrain(autoencoder, batches, epochs, accelerator, seed=seed)
    seconds = round(time.monotonic() - started, 1)
    done = Pretraining(len(photos), len(photos.skipped), tuple(losses), seconds)
    if accelerator.is_main_process:
        save(autoencoder, done, folder)
    return done


def save(autoencoder: Autoencoder, done: Pretraining, folder: Path) -> None:
    """Writes autoencoder.safetensors to `folder`: encoder and decoder, and how they came to be."""
    tensors = {name: t.cpu().contiguous() for name, t in autoencoder.state_dict().items()}
    with staged(folder) as scratch:
        about = {"about": json.dumps(asdict(done))}
        (scratch / AUTOENCODER_NAME).write_bytes(serialise(tensors, metadata=about))


def restore(folder: Path) -> tuple[Autoencoder, Pretraining]:
    """The autoencoder in `folder`, in evaluation mode, and how it came to be.

    Raises LandmarkError where there is none, or it is not whole.
    """
    path = folder / AUTOENCODER_NAME
    if not path.is_file():
        raise LandmarkError(
            f"{folder} has no {AUTOENCODER_NAME}: nothing was pretrained there. Start anew with "
            "--pretrain-autoencoder FOLDER and without --resume."
        )
    autoencoder = Autoencoder(LandmarkCNN())
    try:
        autoencoder.load_state_dict(read_weights(path))
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
        done = Pretraining(**about | {"losses": tuple(about["losses"])})
    except (SafetensorError, RuntimeError, TypeError, LookupError, ValueError) as error:
        if isinstance(error, LandmarkError):  # a ValueError
            raise
        raise LandmarkError(
            f"{path.name} is not an autoencoder that train.py wrote. Pretrain again."
        ) from error
    return autoencoder.eval(), done
