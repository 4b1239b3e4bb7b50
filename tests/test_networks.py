"""Networks give logits, can learn, and take only weights that are theirs."""

import resource
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from landmark_model.config import WEIGHTS_NAME, LandmarkError, ModelConfig
from landmark_model.networks import (
    NETWORKS,
    LandmarkCNN,
    ResidualBlock,
    build,
    compute_features,
    normalisation,
    restore,
    round_to_half,
    run_by_shape,
    tensors_by_shape,
)
from landmark_model.training import optimizer
from landmark_model.training.distillation import Teacher
from landmark_model.training.optimizer import make_optimizer, parameter_groups
from landmark_model.training.start import Start, start_from_file

CLASSES = ("a", "b", "c")
CONFIG = ModelConfig("landmark_cnn", CLASSES, CLASSES)
HEAD = ("fc.weight", "fc.bias")
MANY = tuple(map(str, range(100_000)))

each_network = pytest.mark.parametrize("architecture", NETWORKS)


@pytest.fixture(autouse=True)
def seed():
    """The same random weights in every run."""
    torch.manual_seed(0)


@pytest.fixture
def small():
    """A LandmarkCNN of few parameters, for what does not depend on their number."""
    return LandmarkCNN(3, widths=(8, 16, 24), depths=(1, 1, 2), drop_rate=0.0).eval()


@pytest.fixture
def stored(small, tmp_path):
    """A function that writes tensors (those of `small`, changed) to a file, and gives its path."""

    def store(changes: dict[str, torch.Tensor] | None = None, drop: str = "nothing"):
        tensors = {**small.state_dict(), **(changes or {})}
        path = tmp_path / "other.safetensors"
        save_file({k: t for k, t in tensors.items() if not k.startswith(drop)}, path)
        return path

    return store


def another(class_count: int = 3) -> LandmarkCNN:
    """A network like `small`, with other random weights."""
    return LandmarkCNN(class_count, widths=(8, 16, 24), depths=(1, 1, 2), drop_rate=0.0)


def trained_a_bit(network: torch.nn.Module) -> torch.nn.Module:
    """The network with every parameter and statistic moved, so that none has a special value."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    return network.eval()


# --- the networks ---


@each_network
def test_build_gives_one_logit_for_each_class(architecture):
    network = build(replace(CONFIG, architecture=architecture)).eval()
    logits = network(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 3) and logits.isfinite().all()


def test_photos_of_many_shapes_keep_their_order():
    sizes = [(4, 6), (6, 4), (4, 6), (2, 2), (6, 4)]
    images = [torch.full((3, *size), float(value)) for value, size in enumerate(sizes)]
    groups = tensors_by_shape(images)
    assert [tuple(alike.shape) for alike, _ in groups] == [(2, 3, 4, 6), (2, 3, 6, 4), (1, 3, 2, 2)]
    found = run_by_shape(lambda alike: alike.mean((2, 3)), groups, "cpu")
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "size", [(160, 160), (33, 64), (17, 31), (16, 15), (2, 3), (1, 1), (1, 90)]
)
def test_any_image_size_gives_logits(small, size):
    trained_a_bit(small)
    logits = small(torch.randn(2, 3, *size))
    assert logits.shape == (2, 3) and logits.isfinite().all()
    assert (logits < 0).any() or (logits.sum(1) - 1).abs().max() > 1e-3  # not probabilities


def test_our_network_comes_by_timms_front_door():
    assert timm.is_model("landmark_cnn")
    network = timm.create_model("landmark_cnn", num_classes=7)
    assert isinstance(network, LandmarkCNN)
    assert network.get_classifier().out_features == network.num_classes == 7
    assert network.pretrained_cfg["classifier"] == "fc"


@pytest.mark.parametrize(
    "architecture", ["", "resnet", "ResNet18", "landmark_cnn.no_such_tag", "hf-hub:timm/resnet18"]
)
def test_unknown_architecture_is_refused(architecture):
    with pytest.raises(LandmarkError, match="landmark_cnn"):
        build(replace(CONFIG, architecture=architecture))


@each_network
def test_logits_do_not_depend_on_batch_mates(architecture):
    network = trained_a_bit(build(replace(CONFIG, architecture=architecture)))
    images = torch.randn(5, 3, 48, 48)
    with torch.no_grad():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
        assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4)
        assert torch.allclose(network(images.flip(0)).flip(0), together, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("widths", "stride"), [((8, 8), 1), ((8, 16), 2), ((8, 16), 1)])
def test_fresh_block_is_its_shortcut(widths, stride):
    block = ResidualBlock(*widths, stride).eval()
    features = torch.randn(2, 8, 13, 10)
    assert torch.equal(block(features), torch.relu(block.shortcut(features)))


def test_halving_shortcut_skips_no_pixel():
    block = ResidualBlock(8, 16, 2)
    features = torch.randn(1, 8, 6, 7, requires_grad=True)
    block.shortcut(features).square().sum().backward()
    assert (features.grad != 0).all()


# --- starting from a file ---


def test_whole_file_fills_every_layer(small, stored):
    network = another().eval()
    start = start_from_file(network, stored())
    assert set(start.filled) == set(small.state_dict()) and not start.fresh
    assert str(start) == "every layer from other.safetensors"
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(images), small(images))


@pytest.mark.parametrize(
    ("drop", "layer"), [("fc", "fc"), ("stem", "stem"), ("stages.2", "stages")]
)
def test_partial_file_says_what_it_fills(small, stored, drop, layer):
    network = another()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start = start_from_file(network, stored(drop=drop))
    after = network.state_dict()
    assert all(torch.equal(after[name], small.state_dict()[name]) for name in start.filled)
    assert all(torch.equal(after[name], before[name]) for name in start.fresh)
    assert all(name.startswith(drop) for name in start.fresh) and start.fresh
    assert set(start.filled) | set(start.fresh) >= {name for name, _ in network.named_parameters()}
    assert not set(start.filled) & set(start.fresh)
    assert layer in str(start).split("starting from random weights:")[1]


@pytest.mark.parametrize("class_count", [2, 50])
def test_head_for_other_classes_is_left_fresh(stored, class_count):
    network = another(class_count)
    before = network.fc.weight.clone()
    start = start_from_file(network, stored())
    assert set(start.fresh) == set(HEAD)
    assert torch.equal(network.fc.weight, before)
    assert str(start).endswith("starting from random weights: fc")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("module.stem.0.weight", (8, 3, 3, 3)),
        ("stem.0.weight", (9, 3, 3, 3)),
        ("stages.1.0.norm1.running_mean", (1,)),
        ("fc.weight", (3, 99)),
        ("fc.weight", (72,)),
    ],
)
def test_tensor_of_another_network_is_refused_and_named(stored, name, shape):
    network = another()
    before = network.stem[0].weight.clone()
    with pytest.raises(LandmarkError) as caught:
        start_from_file(network, stored({name: torch.zeros(shape)}))
    assert name in str(caught.value) and "other.safetensors" in str(caught.value)
    assert torch.equal(network.stem[0].weight, before)


@pytest.mark.parametrize("class_count", [3, 5])
def test_file_that_fills_nothing_is_refused(stored, class_count):
    drop = ("stem", "stages") if class_count == 5 else ""
    with pytest.raises(LandmarkError, match="holds no weights"):
        start_from_file(another(class_count), stored(drop=drop))


# --- files ---


@pytest.mark.parametrize("kind", ["empty", "pickle", "torch.save", "cut", "json"])
def test_other_kind_of_file_is_refused_and_named(kind, stored, small, tmp_path):
    path, content = tmp_path / "bad.safetensors", stored().read_bytes()
    torch.save(small.state_dict(), path)
    contents = {
        "empty": b"",
        "pickle": b"\x80\x04\x95\x15\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        "cut": content[: len(content) // 2],
        "json": (8).to_bytes(8, "little") + b'{"a": 1}',
    }
    path.write_bytes(contents.get(kind, path.read_bytes()))
    with pytest.raises(LandmarkError, match=r"bad\.safetensors is not a whole safetensors file"):
        start_from_file(another(), path)


# --- restoring ---


@pytest.fixture(scope="module")
def whole():
    """The tensors of a network that has been moved from its start."""
    torch.manual_seed(1)
    return dict(trained_a_bit(build(CONFIG)).state_dict())


def restored(tensors: dict[str, torch.Tensor], folder, config: ModelConfig = CONFIG):
    """The network that comes back from a folder with those tensors."""
    save_file(tensors, folder / WEIGHTS_NAME)
    return restore(config, folder)


def test_restored_network_is_the_one_saved(whole, tmp_path):
    network = restored(whole, tmp_path)
    assert not network.training
    assert all(torch.equal(t, whole[name]) for name, t in network.state_dict().items())


def test_half_weights_come_back_as_floats(whole, tmp_path):
    halves = {name: t.half() if t.ndim > 1 else t for name, t in whole.items()}
    network = restored(halves, tmp_path)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network.fc.weight, whole["fc.weight"].half().float())


@pytest.mark.parametrize("name", ["fc.bias", "stem.1.running_var"])
def test_missing_tensor_is_refused_and_named(whole, tmp_path, name):
    with pytest.raises(LandmarkError, match=rf"config\.json.*{name}"):
        restored({key: t for key, t in whole.items() if key != name}, tmp_path)


@pytest.mark.parametrize(
    ("name", "shape"), [("extra.bias", (3,)), ("fc.bias", (4,)), ("stem.0.weight", (32, 3, 5, 5))]
)
def test_tensor_that_does_not_fit_is_refused_and_named(whole, tmp_path, name, shape):
    with pytest.raises(LandmarkError, match=name):
        restored({**whole, name: torch.zeros(shape)}, tmp_path)


# --- optimizer groups, precision ---


def fill_all_but(network: torch.nn.Module, *layers: str) -> Start:
    """A start that filled every tensor outside those layers."""
    names = tuple(name for name in network.state_dict() if not name.startswith(layers or "-"))
    return Start("test", names)


def rates(network: torch.nn.Module, start: Start) -> dict[str, float]:
    """The learning rate of each parameter by name, with lr 1 and layer decay 0.5; 0 if frozen."""
    groups = parameter_groups(network, start, lr=1.0, layer_decay=0.5, weight_decay=0.05)
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert all(p.requires_grad == (id(p) in rate_of) for p in network.parameters())
    return {name: rate_of.get(id(p), 0.0) for name, p in network.named_parameters()}


@each_network
def test_each_parameter_is_in_one_group_and_fresh_ones_learn_at_full_rate(architecture):
    network = build(replace(CONFIG, architecture=architecture))
    assert set(rates(network, Start("none")).values()) == {1.0}
    head = "classifier" if architecture.startswith("tf_") else "fc"
    of = rates(network, fill_all_but(network, head))
    assert of.pop(f"{head}.weight") == of.pop(f"{head}.bias") == 1.0
    assert max(of.values()) < 1.0
    groups = parameter_groups(network, fill_all_but(network, head), 1.0, 0.5, 0.05)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    learning = [id(parameter) for parameter in network.parameters() if parameter.requires_grad]
    assert sorted(grouped) == sorted(learning)
    for group in groups:
        decays = {0.05 if parameter.ndim > 1 else 0.0 for parameter in group["params"]}
        assert decays == {group["weight_decay"]}


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        ("resnet18", ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]),
        ("landmark_cnn", ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "fc"]),
    ],
)
@pytest.mark.parametrize("all_filled", [True, False])
def test_deeper_layers_learn_slower_step_by_step(architecture, layers, all_filled):
    network = build(replace(CONFIG, architecture=architecture))
    of = rates(network, fill_all_but(network, *(() if all_filled else ("fc",))))
    by_layer = [{rate for name, rate in of.items() if name.startswith(layer)} for layer in layers]
    assert by_layer == [{0.0}, *({0.5**depth} for depth in (4, 3, 2, 1, 0))]  # 0.03: frozen


def test_rounding_makes_the_half_file_exact(tmp_path):
    network = trained_a_bit(build(CONFIG))
    before = {name: t.clone() for name, t in network.state_dict().items()}
    round_to_half(network)
    after = network.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in after)
    for name, tensor in after.items():
        if tensor.ndim > 1:
            assert torch.equal(tensor.half().float(), tensor)
            assert torch.allclose(tensor, before[name], rtol=1e-3, atol=1e-7)
        else:
            assert torch.equal(tensor, before[name])
    halves = {name: t.half() if t.ndim > 1 else t for name, t in after.items()}
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(restored(halves, tmp_path)(images), network(images))
    assert load_file(tmp_path / WEIGHTS_NAME)["fc.weight"].dtype == torch.float16


# --- features, Muon, teachers ---


@each_network
def test_last_layer_makes_logits_of_features(architecture):
    network = build(replace(CONFIG, architecture=architecture)).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        features = compute_features(network, images)
        assert features.shape == (2, network.num_features)
        assert torch.allclose(network.get_classifier()(features), network(images), atol=1e-5)


@each_network
def test_muon_moves_convolution_kernels_alone_at_its_own_rate(architecture):
    network = build(replace(CONFIG, architecture=architecture))
    groups = parameter_groups(network, fill_all_but(network, "fc"), 0.01, 0.5, 0.05)
    rate_of = {p: group["lr"] for group in groups for p in group["params"]}
    optimizer = make_optimizer(groups, muon=3.0)
    moved = {p: group for group in optimizer.param_groups for p in group["params"]}
    assert moved.keys() == {p for p in network.parameters() if p.requires_grad}
    for parameter, group in moved.items():
        kernel = parameter.ndim == 4
        assert group["lr"] == pytest.approx(rate_of[parameter] * (3 if kernel else 1))
        assert group.get("use_fallback", False) == (not kernel)


def test_muon_moves_a_kernel_along_all_directions_nearly_alike():
    kernel = torch.nn.Parameter(torch.zeros(4, 2, 2, 2))
    directions = torch.linalg.svd(torch.randn(4, 8), full_matrices=False)
    strengths = torch.tensor([100.0, 10.0, 3.0, 1.0])
    kernel.grad = (directions.U * strengths @ directions.Vh).reshape(4, 2, 2, 2)
    make_optimizer([{"params": [kernel], "lr": 0.01, "weight_decay": 0.0}], muon=1.0).step()
    steps = torch.linalg.svdvals(kernel.detach().reshape(4, 8))
    assert steps.max() < 3 * steps.min()


@pytest.mark.parametrize("fast", [True, False])
def test_muon_is_as_exact_as_float32_where_bfloat16_would_be_emulated(fast, monkeypatch):
    monkeypatch.setattr(optimizer, "has_bf16_units", lambda: fast)
    gradient = torch.randn(4, 2, 2, 2)
    kernels = [torch.nn.Parameter(torch.zeros(4, 2, 2, 2)) for _ in range(2)]
    for kernel, scale in zip(kernels, (1.0, 1.001), strict=True):  # Muon forgets the scale
        kernel.grad = scale * gradient
        make_optimizer([{"params": [kernel], "lr": 0.01, "weight_decay": 0.0}], muon=1.0).step()
    error = (kernels[0] - kernels[1]).abs().max() / kernels[0].abs().max()
    assert (error < 1e-5) == (not fast), error


def test_normalisation_is_that_of_the_pretrained_weights():
    assert normalisation("resnet18")["mean"] == (0.485, 0.456, 0.406)
    assert normalisation("tf_efficientnet_lite2") == {"mean": (0.5,) * 3, "std": (0.5,) * 3}


def test_teacher_sees_the_students_images_in_its_own_numbers(small):
    ours = replace(CONFIG, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    teacher = Teacher(small, ours, shown_as=CONFIG).train()
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CONFIG.mean, CONFIG.std))
    logits = teacher((pixels - mean) / std)
    assert torch.allclose(logits, small((pixels - 0.5) / 0.5), atol=1e-5)
    assert not logits.requires_grad and not small.training


def test_teacher_of_other_classes_is_refused_by_their_names(small):
    other = replace(CONFIG, class_names=("a", "b", "zoo"))
    with pytest.raises(LandmarkError, match=r"different classes.*c, zoo are on one side only"):
        Teacher(small, other, shown_as=CONFIG)


@pytest.mark.parametrize("arguments", [{"depths": [1, 1, 1, 1]}, {"widths": [8] * 4}])
def test_builders_arguments_change_the_network(arguments):
    network, plain = (build(replace(CONFIG, model_args=some)).eval() for some in (arguments, {}))
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 3)
    shapes = [{name: t.shape for name, t in one.state_dict().items()} for one in (network, plain)]
    assert shapes[0] != shapes[1]


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(LandmarkError, match="resnet18 cannot be built with model_args"):
        build(replace(CONFIG, architecture="resnet18", model_args={"widths": [8]}))


# --- what is refused ---


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["fc.weight", "stem.1.running_mean"])
def test_weights_that_are_not_finite_are_refused_and_named(whole, tmp_path, name, value):
    bad = whole[name].clone()
    bad.view(-1)[-1] = value
    with pytest.raises(LandmarkError, match=f"damaged.*: {name} holds numbers that are not finite"):
        restored({**whole, name: bad}, tmp_path)
    with pytest.raises(LandmarkError, match=name):
        restored({**whole, name: bad.half()}, tmp_path)


def test_negative_variance_is_refused(whole, tmp_path):
    name = "stages.0.0.norm1.running_var"
    with pytest.raises(LandmarkError, match=f"{name} holds variances below 0"):
        restored({**whole, name: -whole[name]}, tmp_path)


def test_whole_numbers_in_place_of_weights_are_refused(whole, tmp_path):
    with pytest.raises(LandmarkError, match=r"fc\.bias is I8 \(3,\)"):
        restored({**whole, "fc.bias": torch.zeros(3, dtype=torch.int8)}, tmp_path)


def test_network_to_start_from_must_be_finite(stored):
    with pytest.raises(LandmarkError, match=r"fc\.bias holds numbers that are not finite"):
        start_from_file(another(), stored({"fc.bias": torch.tensor([0, float("nan"), 0])}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_args": {"widths": [4096] * 4, "depths": [64] * 4}}, "at most 200,000,000"),
        ({"architecture": "vit_giant_patch14_224"}, "at most 200,000,000"),
        ({"class_names": MANY, "labels": MANY, "architecture": "resnet50"}, "for 100,000 classes"),
        ({"model_args": {"widths": [2048, 8], "depths": [1, 1]}}, "maps of"),
        ({"model_args": {"widths": [256] * 2, "depths": [64, 1]}}, "products"),
        ({"model_args": {"widths": [32, 64], "depths": [1, 1, 1]}}, "cannot be built"),
        ({"architecture": "convnext_atto", "model_args": {"depths": [1]}}, "cannot be built"),
    ],
)
def test_network_that_would_fill_the_memory_is_refused_before_it_takes_any(changes, told):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LandmarkError, match=told):
        build(replace(CONFIG, image_size=1024, **changes))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize(
    ("architecture", "image_size", "view"),
    [
        ("vit_tiny_patch16_224", 64, "centre"),  # made for 224 px
        ("vit_tiny_patch16_224", 224, "whole"),  # and for squares
        ("efficientvim_m1", 64, "centre"),  # its last layer is not one
    ],
)
def test_network_of_timms_that_cannot_be_asked_is_refused(architecture, image_size, view, tmp_path):
    config = ModelConfig(architecture, CLASSES, CLASSES, image_size, view)
    with pytest.raises(LandmarkError, match=f"{architecture} does not work as an image classifier"):
        restored(dict(build(config).state_dict()), tmp_path, config)


@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet"])
def test_other_networks_of_timms_come_back_whole(architecture, tmp_path):
    config = ModelConfig(architecture, CLASSES, CLASSES, 160)
    network = build(config).eval()
    found = restored(dict(network.state_dict()), tmp_path, config)
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(found(images), network(images))
