"""A network trains in the numbers that are faster for it, on the machine where it trains."""

import pytest

from landmark_model.training import precision
from landmark_model.training.precision import choose_precision, time_step


@pytest.mark.parametrize(
    ("units", "seconds", "chosen"),
    [
        (True, {False: 1.0, True: 0.4}, "bf16"),
        (True, {False: 1.0, True: 1.6}, "no"),
        (False, {False: 1.0, True: 0.4}, "no"),
    ],
)
def test_faster_numbers_are_chosen_where_the_processor_has_units_for_both(
    units, seconds, chosen, monkeypatch, capsys
):
    choose_precision.cache_clear()
    monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "has_bf16_units", lambda: units)
    monkeypatch.setattr(precision, "time_step", lambda name, side, in_bf16: seconds[in_bf16])
    assert choose_precision("landmark_cnn", 64) == chosen
    assert ("in bfloat16" in capsys.readouterr().out) == units
    choose_precision.cache_clear()


def test_a_step_takes_time_in_either():
    assert all(0 < time_step("landmark_cnn", 32, in_bf16) < 60 for in_bf16 in (False, True))
