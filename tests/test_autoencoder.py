"""The autoencoder mends photos, and a run that starts with it says so."""

import json
import shutil

import pytest
import torch
from torch import nn

import train
from landmark_model import autoencoder, networks
from landmark_model.autoencoder import PATCH_PX, Autoencoder, UnlabelledPhotos, corrupt
from landmark_model.config import LandmarkError, ModelConfig
from landmark_model.networks import LandmarkCNN
from landmark_model.training import CHECKPOINT_NAME
from landmark_model.transforms import Augmentation, train_transform

VARY = train_transform(
    ModelConfig("landmark_cnn", ("a", "b"), ("A", "B"), 32),
    Augmentation(32, low_resolution=0.0, erasing=0.0, policy="none"),
)
RUN = ["--smoke", "--network", "landmark_cnn"]


@pytest.fixture
def folder(lay_out):
    """Four photos in two folders of different depth."""
    return lay_out({"2021": 2, "2022/summer": 2})


@pytest.fixture
def mender():
    """An untrained autoencoder."""
    torch.manual_seed(0)
    return Autoencoder(LandmarkCNN())


def learn(mender, folder, engine, epochs: int, precision: str = "no", **settings) -> list[float]:
    photos = UnlabelledPhotos(folder, 40, VARY, show_progress=False)
    batches = autoencoder.make_batches(photos, 4, 0)
    return autoencoder.pretrain(mender, batches, epochs, engine(precision), **settings)


# --- the network ---


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (112, 16), (33, 47), (50, 129)])
def test_images_come_back_in_their_size(mender, size):
    images = torch.randn(2, 3, *size)
    assert mender(images).shape == images.shape
    assert mender.reconstruction_error(images).shape == (2,)


def test_the_encoder_is_the_network_s_own():
    network = LandmarkCNN().eval()
    mender = Autoencoder(network).eval()
    images = torch.randn(2, 3, 48, 64)
    assert torch.equal(mender.encoder(images), network.forward_features(images))
    own = {name for name in network.state_dict() if not name.startswith("fc.")}
    shared = [name for name in mender.state_dict() if name.startswith("encoder.")]
    assert {name.removeprefix("encoder.") for name in shared} == own


def test_the_decoder_is_small(mender):
    count = sum(parameter.numel() for parameter in mender.decoder.parameters())
    assert 200_000 < count < 400_000


def test_reconstruction_error_is_per_image_and_leaves_the_mode_alone(mender):
    images = torch.randn(3, 3, 32, 32)
    alone = torch.cat([mender.reconstruction_error(image[None]) for image in images])
    assert torch.allclose(mender.reconstruction_error(images), alone, rtol=1e-4)
    assert mender.training
    expected = (mender.eval()(images) - images).square().flatten(1).mean(1)
    assert torch.allclose(alone, expected, rtol=1e-4)
    mender.reconstruction_error(images)
    assert not mender.training


# --- corruption ---


def test_corruption_hides_whole_squares():
    images = torch.full((8, 3, 80, 70), 5.0)
    hidden = corrupt(images, torch.Generator().manual_seed(0), noise=0.0, hidden=0.3) == 0
    assert 0.2 < hidden.float().mean() < 0.4
    for top in range(0, 80, PATCH_PX):
        for left in range(0, 70, PATCH_PX):
            cell = hidden[:, :, top : top + PATCH_PX, left : left + PATCH_PX].flatten(1)
            assert torch.equal(cell.all(1), cell.any(1))


def test_corruption_adds_noise_of_the_given_deviation_and_none_where_hidden():
    images = torch.zeros(4, 3, 64, 64)
    noisy = corrupt(images, torch.Generator().manual_seed(0), noise=0.5, hidden=0.0)
    assert noisy.std().item() == pytest.approx(0.5, rel=0.05)
    assert not corrupt(images, torch.Generator(), noise=0.5, hidden=1.0).any()


def test_corruption_depends_on_the_generator_alone():
    images = torch.randn(2, 3, 40, 40)
    first, again = (corrupt(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, corrupt(images, torch.Generator().manual_seed(4)))


# --- photos ---


def test_photos_are_found_in_any_folder_and_shrunk_once(folder):
    (folder / "notes.txt").write_text("not a photo, and not named like one")
    photos = UnlabelledPhotos(folder, 40, VARY, show_progress=False)
    assert len(photos) == 4 and photos.skipped == []
    assert {min(pixels.shape[:2]) for pixels in photos.pixels} == {40}
    shutil.rmtree(folder)
    assert photos[0].shape == (3, 32, 32)


def test_a_broken_photo_is_skipped_and_named(folder):
    whole = (folder / "2021" / "0.png").read_bytes()
    (folder / "2022" / "cut.png").write_bytes(whole[: len(whole) // 2])
    photos = UnlabelledPhotos(folder, 40, VARY, show_progress=False)
    assert len(photos) == 4
    assert [item.path for item in photos.skipped] == ["2022/cut.png"]
    assert "damaged" in photos.skipped[0].reason


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(LandmarkError, match="holds no photo that can be read, of 0 files"):
        UnlabelledPhotos(tmp_path, 40, VARY)
    (tmp_path / "text.jpg").write_text("not a photo")
    with pytest.raises(LandmarkError, match=r"of 1 files.*text\.jpg is not a photo"):
        UnlabelledPhotos(tmp_path, 40, VARY)
    with pytest.raises(LandmarkError, match="is not a folder"):
        UnlabelledPhotos(tmp_path / "absent", 40, VARY)


def test_a_single_photo_makes_a_batch(lay_out):
    photos = UnlabelledPhotos(lay_out({"one": 1}), 40, VARY, show_progress=False)
    assert [len(images) for images in autoencoder.make_batches(photos, 64, 0)] == [1]


# --- training ---


def test_loss_falls_on_four_photos(mender, folder, engine):
    losses = learn(mender, folder, engine, 25, lr=3e-3)
    assert len(losses) == 25
    assert sum(losses[-3:]) < 0.6 * sum(losses[:3])


def test_trained_it_gives_back_photos_better_than_noise(mender, folder, engine):
    learn(mender, folder, engine, 25, lr=3e-3)
    photos = UnlabelledPhotos(folder, 40, VARY, show_progress=False)
    images = torch.stack([photos[index] for index in range(4)])
    noise = torch.randn(4, 3, 32, 32)
    assert mender.reconstruction_error(images).mean() < mender.reconstruction_error(noise).mean()


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_every_tensor_of_the_encoder_changes_and_nothing_else(folder, engine, precision):
    torch.manual_seed(0)
    network = LandmarkCNN()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    mender = Autoencoder(network)
    learn(mender, folder, engine, 3, precision)
    same = {n for n, tensor in network.state_dict().items() if torch.equal(tensor, before[n])}
    assert same == {"fc.weight", "fc.bias"}
    assert all(tensor.dtype == before[n].dtype for n, tensor in network.state_dict().items())
    images = torch.randn(2, 3, 32, 32)
    in_float32 = mender.eval().decoder(mender.encoder(images))
    assert torch.equal(mender(images), in_float32), "Accelerate's wrapping is left on"


def test_the_same_seed_teaches_the_same(folder, engine):
    outcomes = []
    for _ in range(2):
        torch.manual_seed(0)
        outcomes.append(learn(Autoencoder(LandmarkCNN()), folder, engine, 2, seed=5))
    assert outcomes[0] == outcomes[1]


def test_a_loss_that_is_no_number_names_the_step(mender, folder, engine):
    nn.init.constant_(mender.decoder[-1].bias, float("nan"))
    with pytest.raises(LandmarkError, match="loss is nan at step 1 of 2"):
        learn(mender, folder, engine, 2)


# --- a whole run ---


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """A smoke run that begins with an autoencoder on the training photos."""
    out = tmp_path_factory.mktemp("mended")
    options = [*RUN, "--data", str(photos), "--out", str(out)]
    options += ["--pretrain-autoencoder", str(photos / "train")]
    train.main(options)
    return out, options


def facts_in(out) -> dict:
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))["training"]


def test_run_says_what_it_started_from(run):
    out, _ = run
    facts = facts_in(out)
    told = "autoencoder on 24 photos fills stem, stages; starting fresh: fc"
    assert facts["start"] == told
    assert told in (out / "README.md").read_text(encoding="utf-8")
    assert facts["pretraining"]["photo_count"] == 24
    assert len(facts["pretraining"]["losses"]) == train.SMOKE["pretrain_epochs"]
    spent = facts["pretraining"]["seconds"] + sum(epoch["seconds"] for epoch in facts["epochs"])
    assert facts["fit_seconds"] == pytest.approx(spent, abs=2)
    assert facts["commands"][-1].endswith("--pretrain-autoencoder train")


def test_the_autoencoder_is_kept(run):
    mender, done = autoencoder.restore(run[0])
    assert done.photo_count == 24 and not mender.training
    assert len(mender.reconstruction_error(torch.randn(2, 3, 64, 64))) == 2


def test_a_resumed_run_does_not_pretrain_again(run, tmp_path, monkeypatch):
    out, options = run
    shutil.copytree(out, tmp_path / "run")
    first, start = facts_in(out), (out / autoencoder.AUTOENCODER_NAME).read_bytes()
    (tmp_path / "run" / "metrics.json").unlink()
    monkeypatch.setattr(autoencoder, "learn_to_see", lambda *_: pytest.fail("pretrains again"))
    options = [str(tmp_path / "run") if word == str(out) else word for word in options]
    train.main([*options, "--resume"])
    again = facts_in(tmp_path / "run")
    assert {key: again[key] for key in ("start", "pretraining", "epochs", "fit_seconds")} == {
        key: first[key] for key in ("start", "pretraining", "epochs", "fit_seconds")
    }
    assert (tmp_path / "run" / autoencoder.AUTOENCODER_NAME).read_bytes() == start


def test_the_classifier_starts_from_the_encoder(photos, tmp_path, monkeypatch):
    seen = {}

    def look(network, optimizer, *_):
        seen.update({name: tensor.clone() for name, tensor in network.state_dict().items()})
        seen["groups"] = optimizer.param_groups
        raise KeyboardInterrupt

    monkeypatch.setattr(train.training, "fit", look)
    with pytest.raises(KeyboardInterrupt):
        train.main([*RUN, "--data", str(photos), "--out", str(tmp_path), "--layer-decay", "0.5",
                    "--pretrain-autoencoder", str(photos / "train")])  # fmt: skip
    kept = networks.read_weights(tmp_path / autoencoder.AUTOENCODER_NAME)
    for name, tensor in kept.items():
        if name.startswith("encoder."):
            assert torch.equal(seen[name.removeprefix("encoder.")], tensor), name
    # Not as if pretrained for the task: all layers learn at the full rate.
    for by_muon in (True, False):
        groups = [group for group in seen["groups"] if group.get("use_fallback", False) != by_muon]
        assert len({group["lr"] for group in groups}) == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--network", "resnet18"], "Add --network landmark_cnn"),
        (["--init", "some.safetensors"], "Leave one out"),
        (["--pretrain-autoencoder", "absent"], "absent is not a folder"),
    ],
)
def test_what_does_not_go_with_an_autoencoder_is_refused_at_once(photos, tmp_path, extra, message):
    options = ["--data", str(photos), "--out", str(tmp_path / "run")]
    with pytest.raises(LandmarkError, match=message):
        train.parse([*RUN, *options, "--pretrain-autoencoder", str(photos), *extra])
    assert not (tmp_path / "run").exists()


def test_resuming_what_was_never_pretrained_is_refused(tmp_path):
    with pytest.raises(LandmarkError, match=r"has no autoencoder\.safetensors.*without --resume"):
        autoencoder.restore(tmp_path)


def test_a_file_that_is_no_autoencoder_is_refused(small_run, tmp_path):
    shutil.copy(small_run.folder / CHECKPOINT_NAME, tmp_path / autoencoder.AUTOENCODER_NAME)
    with pytest.raises(LandmarkError, match="is not an autoencoder"):
        autoencoder.restore(tmp_path)
