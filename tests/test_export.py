"""TorchScript and ONNX files say what the network says, without any code of ours."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from landmark_model import LandmarkError, load
from landmark_model.classifier import LandmarkClassifier
from landmark_model.config import ONNX_NAME, TORCHSCRIPT_NAME, VIEWS, ModelConfig, read_config
from landmark_model.hub.repo import SHIPPED
from landmark_model.networks import build, restore
from landmark_model.photos import open_photo
from landmark_model.preprocess import cut_view
from landmark_model.runtime import Runtime
from landmark_model.torch_trunk import TorchTrunk
from landmark_model.training import export
from landmark_model.training.export import LABELS_NAME, Portable, export_onnx, export_torchscript
from landmark_model.training.smoke import make_photo

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZES = [(64, 64), (64, 99), (190, 250), (333, 97), (41, 7), (1, 50), (64, 400), (300, 64)]
SMALL = {"widths": [8, 16, 24], "depths": [1, 1, 1]}  # exported in a tenth of the time
CONFIG = ModelConfig(
    "landmark_cnn", ("a", "b", "c"), ("A", "Bé", "C"), 64, temperature=1.5, model_args=SMALL
)
# All that a program of someone else's needs.
PROGRAM = """
import json, sys, torch
model, photos, answers = sys.argv[1:]
extra = {"labels.json": ""}
network = torch.jit.load(model, _extra_files=extra)
outputs = [network(batch) for batch in torch.load(photos)]
torch.save(outputs, answers)
others = [name for name in ("timm", "landmark_model", "torchvision") if name in sys.modules]
print(json.dumps([network.labels, json.loads(extra["labels.json"]), others]))
"""


def make_batches() -> list[Tensor]:
    """Batches of 1 and 3 photos, uint8, of every size."""
    random = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=random)
        for size in SIZES
        for count in (1, 3)
    ]


@pytest.fixture(scope="module")
def elsewhere(smoke_run, python, tmp_path_factory):
    """What the run's file answers in a process that imports torch alone."""
    folder = tmp_path_factory.mktemp("elsewhere")
    torch.save(make_batches(), folder / "photos.pt")
    done = python("-c", PROGRAM, smoke_run.folder / TORCHSCRIPT_NAME, folder / "photos.pt",
                  folder / "answers.pt")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "answers.pt"), json.loads(done.stdout)


def test_file_gives_the_probabilities_of_the_network(smoke_run, elsewhere):
    config = read_config(smoke_run.folder)
    eager = Portable(restore(config, smoke_run.folder), config).eval()
    for photos, found in zip(make_batches(), elsewhere[0], strict=True):
        with torch.inference_mode():
            expected = eager(photos)
        assert found.shape == (len(photos), 3)
        assert torch.allclose(found, expected, atol=1e-4)
        assert torch.allclose(found.sum(1), torch.ones(len(photos)), atol=1e-5)


def test_file_needs_only_torch_and_knows_its_labels(elsewhere):
    labels, extra, others = elsewhere[1]
    assert labels == extra == ["Eiffel Tower", "Golden Gate Bridge", "Stonehenge"]
    assert others == []


def test_onnx_runtime_gives_the_same_on_any_batch(smoke_run):
    config = read_config(smoke_run.folder)
    network = restore(config, smoke_run.folder)
    session = onnxruntime.InferenceSession(str(smoke_run.folder / ONNX_NAME))
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["labels"]) == list(config.labels)
    side = int(known["image_size"])
    for count in (1, 2, 5):
        random = torch.Generator().manual_seed(count)
        images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=random)
        found = session.run(["probabilities", "logits", "features"], {"whole": images.numpy()})
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (config.mean, config.std))
        with torch.inference_mode():
            logits = network((images / 255 - mean) / std)
        answers = (logits / config.temperature).softmax(1).numpy()
        assert np.abs(found[0] - answers).max() < 1e-4


@pytest.fixture(scope="module", params=["resnet18", "landmark_cnn", "tf_efficientnet_lite2"])
def shipped(request, tmp_path_factory):
    """A network that ships, as classifier and as TorchScript."""
    tagger = load(network=request.param, device="cpu")
    folder = SHIPPED if request.param == "resnet18" else SHIPPED / request.param
    path = tmp_path_factory.mktemp("shipped") / "network.pt"
    export_torchscript(restore(tagger.config, folder), tagger.config, path)
    return tagger, torch.jit.load(str(path))


@pytest.mark.parametrize("size", [None, (161, 162), (333, 97), (97, 333)], ids=str)
def test_file_agrees_with_predict(shipped, size):
    tagger, network = shipped
    for path in sorted(EXAMPLES.glob("*.jpg"))[: 3 if size else None]:
        photo = open_photo(path)
        photo = photo.resize(size) if size else photo
        pixels = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)[None]
        found = network(pixels)[0].tolist()
        for guess in tagger.predict(photo, top_k=99):
            # Pillow rounds to whole grey levels between the two directions of a resize.
            index = tagger.config.class_names.index(guess.class_name)
            assert found[index] == pytest.approx(guess.probability, abs=0.05), path.name


@torch.inference_mode()
@pytest.mark.parametrize("view", VIEWS)
def test_exports_see_of_a_photo_what_the_classifier_does(view, tmp_path):
    config = replace(CONFIG, image_size=96, view=view)
    torch.manual_seed(0)
    network = build(config).eval()
    network.fc.weight.mul_(100)  # of an untrained network, all views give nearly the same
    export_torchscript(network, config, tmp_path / TORCHSCRIPT_NAME)
    export_onnx(network, config, tmp_path / ONNX_NAME)
    session = onnxruntime.InferenceSession(str(tmp_path / ONNX_NAME))
    script = torch.jit.load(str(tmp_path / TORCHSCRIPT_NAME))
    tagger = LandmarkClassifier(Runtime(TorchTrunk(network, config, "cpu"), config))
    for size in ((90, 120), (200, 100), (500, 100)):
        photo = make_photo(2, seed=4, size=size)
        seen = np.asarray(cut_view(photo, config)).transpose(2, 0, 1)[None].copy()
        onnx_says = session.run(["probabilities"], {view: seen})[0][0]
        script_says = script(torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)[None])[0]
        for guess in tagger.predict(photo, top_k=3):
            index = config.class_names.index(guess.class_name)
            assert onnx_says[index] == pytest.approx(guess.probability, abs=1e-4), size
            assert script_says[index].item() == pytest.approx(guess.probability, abs=5e-3), size


class Plain(nn.Module):
    """The mean of each channel, as timm's networks are called."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = 1.0

    def forward_features(self, images: Tensor) -> Tensor:
        return images

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        return self.sign * maps.mean((2, 3))

    def get_classifier(self) -> nn.Module:
        return nn.Identity()


class Fickle(Plain):
    """Its scripted form gives other logits than its eager one."""

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = maps.mean((2, 3))
        return -pooled if torch.jit.is_scripting() else pooled


class NotANumber(Plain):
    """Gives no numbers at all, in both forms."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = float("nan")


@pytest.mark.parametrize("network", [Fickle, NotANumber])
def test_network_that_differs_when_scripted_is_refused(network, tmp_path):
    path = tmp_path / TORCHSCRIPT_NAME
    path.write_text("the old file")
    with pytest.raises(LandmarkError, match="differs"):
        export_torchscript(network(), CONFIG, path)
    assert path.read_text() == "the old file"
    assert [file.name for file in tmp_path.iterdir()] == [TORCHSCRIPT_NAME]


@pytest.mark.parametrize("step", ["save", "load"])
def test_export_that_fails_half_way_leaves_nothing(step, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    path = tmp_path / TORCHSCRIPT_NAME
    path.write_text("the old file")
    monkeypatch.setattr(export.torch.jit, step, fail)
    with pytest.raises(OSError, match="disk full"):
        export_torchscript(build(CONFIG), CONFIG, path)
    assert path.read_text() == "the old file"
    assert [file.name for file in tmp_path.iterdir()] == [TORCHSCRIPT_NAME]


def test_file_has_the_name_asked_for_and_knows_its_classes(tmp_path):
    difference = export_torchscript(build(CONFIG), CONFIG, tmp_path / "Hạ Long.partial")
    assert 0 <= difference <= 1e-4
    assert [file.name for file in tmp_path.iterdir()] == ["Hạ Long.partial"]
    extra = {LABELS_NAME: ""}
    network = torch.jit.load(str(tmp_path / "Hạ Long.partial"), _extra_files=extra)
    assert network.labels == json.loads(extra[LABELS_NAME]) == ["A", "Bé", "C"]
    assert network.class_names == ["a", "b", "c"]


def test_place_that_is_a_folder_is_refused_in_words(tmp_path):
    with pytest.raises(LandmarkError, match="is a folder"):
        export_torchscript(build(CONFIG), CONFIG, tmp_path)
