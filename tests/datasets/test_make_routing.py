import numpy as np
import pandas as pd
import pytest

from lookahead_sk.datasets import make_routing


@pytest.fixture(scope="module")
def data():
    return make_routing(1300, random_state=0)


def test_it_has_the_promised_fields(data):
    assert data.prompts.shape == data.benchmark.shape == (1300,)
    assert data.scores.shape == data.responses.shape == (1300, len(data.models))
    assert data.costs.shape == (len(data.models),)
    assert all(isinstance(text, str) and text for text in data.responses.ravel())
    assert data.scores.dtype == np.float64
    assert ((data.scores >= 0) & (data.scores <= 1)).all()
    assert all(name in data.DESCR for name in data.models)


def test_prompts_are_distinct_and_spread_evenly_over_the_kinds(data):
    assert len(set(data.prompts)) == 1300
    kinds, counts = np.unique(data.benchmark.astype(str), return_counts=True)
    assert len(kinds) == 13
    assert set(counts) == {100}


def test_the_same_random_state_gives_the_same_dataset(data):
    again, other = make_routing(1300, random_state=0), make_routing(1300, random_state=1)
    assert (again.prompts == data.prompts).all()
    assert (again.responses == data.responses).all()
    assert (again.scores == data.scores).all()
    assert len(set(other.prompts) & set(data.prompts)) < 200


def test_choosing_models_keeps_the_prompts_and_the_scores(data):
    chosen = make_routing(1300, models=["estimator-xs", "stepwise-l"], random_state=0)
    columns = [data.models.index("estimator-xs"), data.models.index("stepwise-l")]
    assert (chosen.prompts == data.prompts).all()
    assert (chosen.scores == data.scores[:, columns]).all()
    assert (chosen.costs == data.costs[columns]).all()


def test_choosing_kinds_leaves_the_others_out():
    assert set(make_routing(30, kinds=["roman", "clock"], random_state=0).benchmark) == {
        "roman",
        "clock",
    }


def test_routing_is_worth_while_and_the_kind_alone_does_not_decide(data):
    best_single = data.scores.mean(axis=0).max()
    oracle = data.scores.max(axis=1).mean()
    by_kind = pd.DataFrame(data.scores).groupby(data.benchmark).mean().max(axis=1).mean()
    assert oracle > best_single + 0.15
    assert best_single < by_kind < best_single + 0.6 * (oracle - best_single)
    assert len(set(data.scores.argmax(axis=1))) == len(data.models)


def test_ties_are_common(data):
    n_best = (data.scores == data.scores.max(axis=1, keepdims=True)).sum(axis=1)
    assert np.mean(n_best > 1) > 0.5
    assert np.mean(n_best == 1) > 0.05


def test_every_model_is_unlike_the_others_in_length_and_manner(data):
    lengths = np.vectorize(len)(data.responses).mean(axis=0)
    by_name = dict(zip(data.models, lengths, strict=True))
    assert by_name["stepwise-l"] > 3 * by_name["calculator-s"]


def test_a_dearer_model_is_not_always_a_better_one(data):
    dearest = data.scores[:, np.argmax(data.costs)]
    assert np.mean(data.scores.max(axis=1) > dearest) > 0.15


def test_frames_carry_the_names_of_the_models():
    data = make_routing(20, random_state=0, as_frame=True)
    X, y = make_routing(20, random_state=0, return_X_y=True)
    assert isinstance(data.prompts, pd.Series)
    assert list(data.scores.columns) == list(data.responses.columns) == data.models
    assert (data.scores.to_numpy() == y).all()
    assert (data.prompts.to_numpy() == X).all()


def test_one_prompt_is_enough():
    assert make_routing(1, random_state=3).scores.shape == (1, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_prompts": 0}, ValueError, r"n_prompts must be an int in \[1, inf\); got 0"),
        ({"n_prompts": 2.5}, TypeError, "n_prompts must be an int"),
        ({"kinds": ["poetry"]}, ValueError, "kinds must be .*'arithmetic'; got 'poetry'"),
        ({"kinds": "roman"}, ValueError, r"Write kinds=\['roman'\] for a single one"),
        ({"models": ["gpt"]}, ValueError, "models must be .*'generalist-xl'.*; got 'gpt'"),
        ({"models": []}, ValueError, "models must be"),
        ({"models": 3}, TypeError, "models must be"),
        ({"models": ["estimator-xs"] * 2}, ValueError, "distinct"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        make_routing(**arguments)
