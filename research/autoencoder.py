"""Teaches LandmarkCNN to see before it is told any landmark: by mending photos without labels.

    python -m research.autoencoder --data FOLDER --out FOLDER

A denoising autoencoder (Vincent et al. 2008): photos in any folders of --data are made noisy and
partly hidden, and encoder and decoder together must give back the clean ones. Writes
encoder.safetensors, from which `train.py --network landmark_cnn --init` then starts. Keep test
photos out of --data. What it is worth: research/README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save as serialise
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.files import staged
from landmark_model.networks import LandmarkCNN, normalisation
from landmark_model.preprocess import shrink
from landmark_model.training.augment import train_transform
from landmark_model.training.data import PhotoSet, make_batches, read_photos
from landmark_model.training.fit import learning_rate_factor, set_rate
from landmark_model.training.recipes import FEW_EPOCHS
from landmark_model.training.session import Session, open_session

ENCODER_NAME, DECODER_NAME = "encoder.safetensors", "decoder.safetensors"
PATCH_PX = 16
# Crops and mirror images, no more.
PLAIN = replace(FEW_EPOCHS, epochs=30, batch_size=64, lr=1e-3)


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


def learn_to_mend(
    autoencoder: Autoencoder, batches: DataLoader, session: Session, epochs: int, lr: float
) -> list[float]:
    """Trains in place; the loss (mean squared error) of every epoch.

    Raises LandmarkError if it is no longer a number, naming the step.
    """
    accelerator = session.accelerator
    autoencoder.to(accelerator.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=lr, weight_decay=0.05)
    for group in optimizer.param_groups:
        group["peak_lr"] = lr
    trained, optimizer, batches = accelerator.prepare(autoencoder, optimizer, batches)
    generator = Generator(accelerator.device)
    generator.manual_seed(session.seed)
    trained.train()
    losses, step, step_count = [], 0, epochs * len(batches)
    for epoch in tqdm(range(epochs), "Autoencoder", unit="epoch"):
        batches.set_epoch(epoch)
        total = 0.0
        for images, _ in batches:
            set_rate(optimizer, learning_rate_factor(step, step_count, warmup=0.08))
            images = images.to(memory_format=torch.channels_last)
            loss = nn.functional.mse_loss(trained(corrupt(images, generator)).float(), images)
            step += 1
            if not torch.isfinite(loss):
                raise LandmarkError(
                    f"The loss is {loss.item()} at step {step} of {step_count}. Try a lower rate."
                )
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
        losses.append(total / len(batches))
    accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
    return losses


def save(autoencoder: Autoencoder, folder: Path) -> None:
    """Writes the encoder, by the names it has in LandmarkCNN, and the decoder to `folder`."""
    with staged(folder) as scratch:
        parts = {ENCODER_NAME: autoencoder.encoder, DECODER_NAME: autoencoder.decoder}
        for name, part in parts.items():
            tensors = {key: t.cpu().contiguous() for key, t in part.state_dict().items()}
            (scratch / name).write_bytes(serialise(tensors))


def unlabelled(folder: Path, side_px: int) -> PhotoSet:
    """The photos in any folders under `folder`: random crops (3, s, s), s = `side_px`, mirrored."""
    table, skipped = read_photos(folder, folder, by_class=False)
    for item in skipped:
        print(f"Skipped: {item.path}: {item.reason}")
    config = ModelConfig("landmark_cnn", ("any",), ("any",), **normalisation("landmark_cnn"))
    vary = train_transform(config, replace(PLAIN, train_size=side_px))
    larger_px = round(1.25 * side_px)
    return PhotoSet(table, lambda photo: shrink(photo, larger_px), vary, f"shrink {larger_px}")


def main(arguments: list[str] | None = None) -> None:
    """Pretrains an encoder on the photos and writes it."""
    parser = argparse.ArgumentParser(
        prog="python -m research.autoencoder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="photos")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the encoder")
    parser.add_argument("--epochs", type=int, default=PLAIN.epochs, metavar="N", help="passes")
    parser.add_argument(
        "--image-size", type=int, default=PLAIN.train_size, metavar="PX", help="side of the crops"
    )
    options = parser.parse_args(arguments)
    photos = unlabelled(options.data, options.image_size)
    session = open_session(options.out)
    autoencoder = Autoencoder(LandmarkCNN())
    batches = make_batches(photos, PLAIN.batch_size, True, session.workers)
    losses = learn_to_mend(autoencoder, batches, session, options.epochs, PLAIN.lr)
    save(autoencoder, options.out)
    print(
        f"Loss {losses[0]:.3f}, at last {losses[-1]:.3f}, on {len(photos)} photos. Go on with "
        f"train.py --network landmark_cnn --init {options.out / ENCODER_NAME}"
    )


if __name__ == "__main__":
    try:
        main()
    except LandmarkError as error:
        sys.exit(f"autoencoder: {error}")
