"""How each network is trained: every number is here, once, and is what ships."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from landmark_model.config import VIEWS, LandmarkError

# Batches are of 2 or more, since batch norm needs several photos.
LEAST = {"image_size": 32, "train_size": 32, "epochs": 1, "batch_size": 2, "weight_decay": 0,
         "muon": 0, "mixup": 0, "probe_copies": 0}  # fmt: skip
SHARES = ("warmup", "balance", "low_resolution", "grey", "erasing", "label_smoothing",
          "distillation")  # fmt: skip
PARTS = ("layer_decay", "min_area", "unknown_share")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network learns, except photos, initial weights and seed.

    Sizes are sides in px, shares and probabilities 0..1. Raises LandmarkError if a number makes
    no sense, naming it. `dataclasses.asdict` of one survives JSON.
    """

    # What the network sees: of a photo `view`, at as many px as a square of `image_size` has.
    image_size: int
    train_size: int  # side of the training crops; smaller sees more alike (Touvron et al. 2019)
    view: str = "whole"
    # How long and how fast.
    epochs: int = 30
    batch_size: int = 32  # on each process
    lr: float = 1.5e-3  # the peak: a linear warm-up, then half a cosine
    warmup: float = 0.08  # share of the steps
    weight_decay: float = 0.05
    layer_decay: float = 1.0  # factor on the rate of each pretrained layer further down
    muon: float = 3.0  # convolution kernels learn by Muon at so many times `lr`; 0: by AdamW
    ema_decay: float = 0.99  # of the average of the weights, which is what is kept
    # Which photos, and how they are varied.
    balance: float = 0.5  # 0 shows each photo equally often, 1 each class
    min_area: float = 0.35  # smallest share of a photo that a crop shows
    low_resolution: float = 0.4  # share of photos shrunk and enlarged again
    grey: float = 0.1  # share of photos without colour
    trivial_augment: bool = True  # Müller and Hutter 2021
    erasing: float = 0.2  # share of photos with a patch erased (Zhong et al. 2020)
    mixup: float = 0.4  # alpha (Zhang et al. 2018)
    # What is to be learned of them.
    label_smoothing: float = 0.1
    distillation: float = 0.8  # weight of the teacher's answers; the labels have the rest
    distillation_temperature: float = 2.0
    unknown_share: float = 0.25  # photos of no class, as a share of a batch (outlier exposure)
    # Afterwards: weight interpolation with the first weights, where these have every layer.
    interpolation: bool = False
    # Linear probe: only the last layer learns, on what the frozen rest sees in so many varied
    # copies of each training photo. 0: every layer learns.
    probe_copies: int = 0

    def __post_init__(self) -> None:
        for rule, kept in self._rules().items():
            if not kept:
                raise LandmarkError(f"The recipe cannot work: {rule}.")

    def _rules(self) -> dict[str, bool]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            f"view must be one of {', '.join(VIEWS)}": self.view in VIEWS,
            "lr must be above 0 and below 1": 0 < self.lr < 1,
            "ema_decay must be 0 or more and below 1": 0 <= self.ema_decay < 1,
            "distillation_temperature must be above 0": self.distillation_temperature > 0,
            **{f"{n} must be {least} or more": values[n] >= least for n, least in LEAST.items()},
            **{f"{name} must be 0 to 1": 0 <= values[name] <= 1 for name in SHARES},
            **{f"{name} must be above 0 and at most 1": 0 < values[name] <= 1 for name in PARTS},
        }

    def at_size(self, image_size: int) -> Recipe:
        """The same for photos of `image_size` px, with training crops as large beside them."""
        scale = image_size / self.image_size
        train_size = max(1, round(scale * self.train_size / 32)) * 32
        return replace(self, image_size=image_size, train_size=train_size)


# Epochs are for some 3,500 photos and two CPU cores: two hours and a half at most.
RECIPES = {
    # From the run of a linear probe (PROBE): its first steps then spoil less of what ImageNet
    # taught (Kumar et al. 2022). It teaches the other two.
    "tf_efficientnet_lite2": Recipe(
        image_size=256, train_size=192, epochs=20, layer_decay=0.6, muon=0.0,
        unknown_share=0.35, interpolation=True,
    ),
    # From ImageNet, with a teacher.
    "resnet18": Recipe(image_size=224, train_size=192, epochs=36, layer_decay=0.4),
    # From scratch, with a teacher.
    "landmark_cnn": Recipe(
        image_size=192, train_size=160, epochs=32, lr=2e-3, weight_decay=0.1, ema_decay=0.995
    ),
}  # fmt: skip

# A last layer alone, on features of a frozen network, which gets used to no other scale and to no
# photos unlike those it learned from.
PROBE = Recipe(
    image_size=288, train_size=288, epochs=60, batch_size=64, lr=3e-3, muon=0.0, min_area=0.6,
    low_resolution=0.0, grey=0.0, trivial_augment=False, erasing=0.0, mixup=0.0,
    label_smoothing=0.0, probe_copies=2,
)  # fmt: skip

# From scratch in few epochs, photos that are made hard on purpose cost more than they teach, and
# small batches, which are more steps, teach more. For benchmarks/versus_original.py.
FEW_EPOCHS = replace(
    RECIPES["landmark_cnn"], batch_size=16, ema_decay=0.9, balance=0.0, low_resolution=0.0,
    grey=0.0, trivial_augment=False, erasing=0.0, mixup=0.0,
)  # fmt: skip


def recipe_for(network: str, probe: bool = False) -> Recipe:
    """The recipe of `network`, or of a linear probe on it. Raises LandmarkError for another."""
    if network not in RECIPES:
        raise LandmarkError(f"There is no recipe for {network!r}. Choose one of {[*RECIPES]}.")
    return PROBE if probe else RECIPES[network]
