"""ONNX Runtime answers as torch does, from the same weights, without training's packages."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from landmark_model import LandmarkClassifier, LandmarkError, load, open_photo
from landmark_model.config import CONFIG_NAME, WEIGHTS_NAME, ModelConfig
from landmark_model.hub.repo import ANSWERING, SHIPPED, networks_in
from landmark_model.networks import NETWORKS, build
from landmark_model.runtime import Runtime, tensor_tables
from landmark_model.torch_trunk import TorchTrunk

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.jpg"))
OF_TRAINING = (
    "torch",
    "torchvision",
    "timm",
    "datasets",
    "accelerate",
    "scipy",
    "sklearn",
    "matplotlib",
)


@pytest.fixture(scope="module", params=NETWORKS)
def both(request):
    """The network that ships, by ONNX Runtime and by torch."""
    return [load(network=request.param, device="cpu", backend=b) for b in ("onnx", "torch")]


def test_onnx_runtime_answers_as_torch_does(both):
    photos = [open_photo(path) for path in EXAMPLES]
    photos.append(photos[0].resize((900, 300)))
    photos.append(photos[1].resize((200, 640)))
    (logits, features), (wanted, of_torch) = (one._runtime.describe(photos) for one in both)
    assert logits.dtype == features.dtype == np.float32
    np.testing.assert_allclose(features, of_torch, atol=1e-3)
    np.testing.assert_allclose(logits, wanted, atol=2e-3)
    for one, other in zip(*(tagger.predict_batch(photos, 10**6) for tagger in both), strict=True):
        probabilities = {guess.class_name: guess.probability for guess in other}
        assert max(abs(g.probability - probabilities[g.class_name]) for g in one) < 1e-3
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert (one.is_known, one[0].label) == (other.is_known, other[0].label)


def test_onnx_runtime_explains_as_torch_does(both):
    one, other = (tagger.explain(EXAMPLES[1]) for tagger in both)
    np.testing.assert_allclose(one.heatmap, other.heatmap, atol=1e-3)
    assert (one.class_name, one.box) == (other.class_name, other.box)


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_asks_for_every_tensor_of_its_network(name):
    table, network = tensor_tables()[name], timm.create_model(name, num_classes=7)
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    last = {key for key in shapes if key.startswith(f"{table['last']}.")}
    assert {key: shapes[key] for key in shapes if key not in last} == table["shapes"]
    assert shapes[f"{table['last']}.weight"] == [7, table["width"]] and len(last) == 2
    counters = {key for key in shapes if key.endswith("num_batches_tracked")}
    assert set(table["initializers"]) == set(shapes) - counters - last


@pytest.fixture
def copied(tmp_path):
    """A copy of a network that ships: its folder and its tensors."""
    folder = networks_in(SHIPPED)["landmark_cnn"]
    for name in ANSWERING:
        if (folder / name).exists():
            shutil.copy(folder / name, tmp_path)
    return tmp_path, load_file(folder / WEIGHTS_NAME)


def drop(tensors):
    del tensors["fc.bias"]


def add(tensors):
    tensors["fc.scale"] = torch.ones(3)


def reshape(tensors):
    tensors["stem.0.weight"] = tensors["stem.0.weight"].flatten()


def spoil(tensors):
    tensors["stem.1.running_mean"][3] = torch.nan


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (drop, r"fc\.bias is missing"),
        (add, r"fc\.scale is not in the network"),
        (reshape, r"stem\.0\.weight is F16 \(864,\), not \(32, 3, 3, 3\)"),
        (spoil, r"stem\.1\.running_mean holds numbers that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(copied, change, fault, backend):
    folder, tensors = copied
    change(tensors)
    save_file(tensors, folder / WEIGHTS_NAME)
    with pytest.raises(LandmarkError, match=fault):
        load(folder, device="cpu", backend=backend)


def test_network_without_a_graph_is_answered_by_torch(copied):
    folder, _ = copied
    assert "Onnx" in type(load(folder, device="cpu")._runtime.trunk).__name__
    config = json.loads((folder / CONFIG_NAME).read_text())
    config["model_args"] = {"widths": [32, 64, 160, 320], "num_classes": 50}
    (folder / CONFIG_NAME).write_text(json.dumps(config))
    assert "Torch" in type(load(folder, device="cpu")._runtime.trunk).__name__
    with pytest.raises(LandmarkError, match=r"Use backend='torch'"):
        load(folder, device="cpu", backend="onnx")


def test_last_layer_may_have_no_bias():
    config = ModelConfig("landmark_cnn", ("a", "b", "c"), ("A", "B", "C"), 64)
    network = build(config)
    network.fc = torch.nn.Linear(320, 3, bias=False)
    tagger = LandmarkClassifier(Runtime(TorchTrunk(network, config, "cpu"), config))
    assert len(tagger.predict(EXAMPLES[0])) == 3
    assert tagger.explain(EXAMPLES[0]).label in config.labels


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"backend": "tensorrt"}, "no backend 'tensorrt'. Use one of onnx, torch"),
        ({"backend": "onnx", "device": "cuda"}, "on device 'cpu' here"),
    ],
)
def test_backend_that_is_not_here_is_refused(settings, fault):
    with pytest.raises(LandmarkError, match=fault):
        load(**settings)


def test_an_answer_needs_none_of_the_packages_of_training():
    code = (
        f"import sys\nsys.modules |= dict.fromkeys({OF_TRAINING}, None)\n"
        "from landmark_model import LandmarkError, load\n"
        f"tagger = load()\nprint(tagger.predict({str(EXAMPLES[1])!r})[0].label)\n"
        f"print(tagger.explain({str(EXAMPLES[1])!r}).label)\n"
        "try:\n    load(device='cuda')\nexcept LandmarkError as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    first, second, refusal = ran.stdout.splitlines()
    assert first == second != "" and "pip install 'landmark-model[torch]'" in refusal


def test_the_package_itself_imports_next_to_nothing():
    code = "import sys\nbefore = set(sys.modules)\nimport landmark_model\n"
    code += "print(*sorted(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not {"numpy", "PIL", "onnxruntime", "scipy"} & set(ran.stdout.split())
