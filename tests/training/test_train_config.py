"""Configurations: written and read again, and refused by name."""

import json

import pytest

import smoothscore as ss


def test_round_trip_through_json():
    config = ss.TrainConfig(
        method="gap", gaps=((0.5, 2.0),), ema=(1000.0,), network_options={"width": 8}, reasons={"gaps": "because"}
    )
    again = ss.TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.reasons == config.reasons


def test_reasons_are_no_part_of_equality():
    assert ss.TrainConfig(reasons={"steps": "enough"}) == ss.TrainConfig()


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"stepz": 10}, "'steps'"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"batch_size": True}, "batch_size is True"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"gaps": [[2.0, 1.0]]}, "gap from 2 to 1"),
        ({"gaps": [[0.0, 3.0], [2.0, 100.0]]}, "cover every noise level"),
        ({"method": "gap"}, "give gaps"),
        ({"sigma_max": 0.001}, "above sigma_min"),
        ({"augment": 1.5}, "augment is 1.5"),
        ({"ema": [-1.0]}, "half-lives"),
        ({"ema": 5.0}, "give a list"),
        ({"stop_on_memorization": 0.01}, "watch_every"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"flips": "yes"}, "flips is 'yes'"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"network_options": "width"}, "values by name"),
        ({"reasons": 3}, "values by name"),
        ({"preconditioning": 3}, "preconditioning is 3"),
        ({"ema": [100, 100.2]}, "must differ"),
        ({"seed": 2**63}, "less than 2"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, word):
    with pytest.raises(ss.InputError, match=word):
        ss.TrainConfig.from_dict(settings)


def test_gaps_that_touch_but_leave_the_ends_are_taken():
    assert ss.TrainConfig(gaps=((1.0, 2.0), (2.0, 3.0))).gaps == ((1.0, 2.0), (2.0, 3.0))
