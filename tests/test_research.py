"""What was tried and is kept for the record still runs."""

import torch
from safetensors.torch import load_file

from landmark_model.networks import LandmarkCNN
from landmark_model.training.start import start_from_file
from research import autoencoder


def test_autoencoder_learns_to_mend_photos_and_its_encoder_is_a_start(photos, engine, tmp_path):
    engine()
    autoencoder.main(["--data", str(photos / "train"), "--out", str(tmp_path), "--epochs", "4",
                      "--image-size", "32"])  # fmt: skip
    network = LandmarkCNN(3)
    start = start_from_file(network, tmp_path / autoencoder.ENCODER_NAME)
    assert {name.split(".")[0] for name in start.fresh} == {"fc"}
    mender, untaught = autoencoder.Autoencoder(network), autoencoder.Autoencoder(LandmarkCNN(3))
    mender.decoder.load_state_dict(load_file(tmp_path / autoencoder.DECODER_NAME))
    shown = autoencoder.unlabelled(photos / "test", 32)
    images = torch.stack([shown[index][0] for index in range(len(shown))])
    with torch.inference_mode():
        errors = [(one.eval()(images) - images).square().mean() for one in (mender, untaught)]
    assert errors[0] < 0.9 * errors[1]
