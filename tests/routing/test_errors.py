"""Every wrong input gets a message that names it, and leaves the router as it was."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookahead_sk import LookaheadRouter
from lookahead_sk.datasets import make_routing

PROMPTS = ["what is 2 + 2?", "name a colour", "spell cat", "what is 3 + 3?"]
SCORES = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.0]])


def router(encoder, **changes):
    return LookaheadRouter(encoder=encoder, max_epochs=1, random_state=0, **changes)


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ([], ValueError, "X must hold at least one prompt"),
        ("a single prompt", TypeError, "X must be a list of strings, not a single string"),
        ([*PROMPTS[:3], None], TypeError, r"got None\. It stands at position 3"),
        ([*PROMPTS[:3], 7], TypeError, r"got 7\. It stands at position 3"),
        (np.array([PROMPTS]), ValueError, "X must be one-dimensional"),
        (3.5, TypeError, "X must be a list of strings"),
        (PROMPTS[:1], ValueError, "at least 2 prompts"),
    ],
)
def test_wrong_prompts_are_named(encoder, X, kind, message):
    with pytest.raises(kind, match=message):
        router(encoder).fit(X, SCORES[: len(X)] if hasattr(X, "__len__") else SCORES)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y must be a score table"),
        (SCORES[:3], "X and y must have the same number of prompts"),
        (SCORES[:, :1], "y must be scores of at least 2 models"),
        (SCORES[:, :, None], r"y must be of shape \(n, K\) or \(n,\)"),
        (np.where(SCORES == 0.5, np.inf, SCORES), "y must be finite"),
        (np.where(np.arange(4)[:, None] == 2, np.nan, SCORES), "row 2 has none"),
        (np.where(np.arange(2) == 1, np.nan, SCORES), "1 has none"),
        (SCORES.astype(complex), "Complex data not supported"),
        (SCORES.astype(str)[:, :] + "x", "y must be a table of numbers"),
        (["a", "a", "a", "a"], "y must hold labels of at least 2 classes"),
        (pd.DataFrame(SCORES, columns=["m", "m"]), "distinct model names"),
    ],
)
def test_wrong_scores_are_named(encoder, y, message):
    with pytest.raises(ValueError, match=message):
        router(encoder).fit(PROMPTS, y)


@pytest.mark.parametrize(
    ("responses", "kind", "message"),
    [
        ([["a", "b"]] * 3, ValueError, "responses must be an array of strings"),
        ([["a"]] * 4, ValueError, "Row 0 does not hold 2 responses"),
        (["ab"] * 4, ValueError, "Row 0 does not hold 2 responses"),
        ([["a", "b"]] * 3 + [["a", 1]], TypeError, "It stands in row 3, column 1"),
        ("abcd", TypeError, "responses must be an array of strings"),
    ],
)
def test_wrong_responses_are_named(encoder, responses, kind, message):
    with pytest.raises(kind, match=message):
        router(encoder).fit(PROMPTS, SCORES, responses=responses)


def test_texts_go_with_numeric_responses_only(encoder):
    texts = [["a", "b"]] * 4
    with pytest.raises(ValueError, match="response_texts must be None unless responses are given"):
        router(encoder).fit(PROMPTS, SCORES, responses=texts, response_texts=texts)
    numbers = {"responses": np.ones((4, 2, 3)), "response_texts": texts[:3]}
    with pytest.raises(ValueError, match="response_texts must be an array of strings"):
        router("passthrough").fit(np.eye(4), SCORES, **numbers)


@pytest.mark.parametrize("lengths", [np.ones((4, 3)), -np.ones((4, 2)), np.full((4, 2), np.inf)])
def test_wrong_response_lengths_are_named(encoder, lengths):
    with pytest.raises(ValueError, match="response_lengths must be"):
        router(encoder).fit(PROMPTS, SCORES, response_lengths=lengths)


@pytest.mark.parametrize("responses", [np.ones((4, 2)), np.ones((4, 3, 5)), "text", np.ones(3)])
def test_wrong_numeric_responses_are_named(responses):
    with pytest.raises(ValueError, match="responses must be an array of numbers of shape"):
        router("passthrough").fit(np.eye(4), SCORES, responses=responses)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"device": "tpu9"}, ValueError, "device must be"),
        ({"device": "cuda:99"}, ValueError, "device must be a device of this machine"),
        ({"response_weight": -1.0}, ValueError, "response_weight must be a float in"),
        ({"response_weight": "much"}, TypeError, "response_weight must be a float"),
        ({"max_epochs": 0}, ValueError, "max_epochs must be an int in"),
        ({"max_epochs": 1.5}, TypeError, "max_epochs must be an int"),
        ({"batch_size": True}, TypeError, "batch_size must be an int"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be a float"),
        ({"validation_fraction": 0.9}, ValueError, "validation_fraction must be a float in"),
        ({"costs": [1.0]}, ValueError, "costs must be 2 finite numbers"),
        ({"costs": {0: 1.0}}, ValueError, "costs must be a mapping with a cost for each of"),
        ({"early_stopping": "yes"}, ValueError, "early_stopping must be one of True, False"),
    ],
)
def test_wrong_parameters_are_named(encoder, changes, kind, message):
    changes = dict(changes)
    given_router = router(encoder).set_params(**changes)
    with pytest.raises(kind, match=message):
        given_router.fit(PROMPTS, SCORES)


@pytest.mark.parametrize("wrong", [3, 2.5, object()])
def test_an_unknown_kind_of_encoder_is_named(wrong):
    with pytest.raises(TypeError, match="encoder must be None, a model name, a path"):
        router(wrong).fit(PROMPTS, SCORES)


def test_a_model_that_cannot_be_had_says_what_to_do(tmp_path):
    with pytest.raises(OSError, match=r"pip install 'lookahead-sk\[minilm\]'"):
        router(str(tmp_path / "no-such-model")).fit(PROMPTS, SCORES)


def test_a_failed_fit_changes_nothing(encoder):
    fitted = router(encoder).fit(PROMPTS, SCORES)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="y must be finite"):
        fitted.fit(PROMPTS, np.where(SCORES == 0.5, np.inf, SCORES))
    with pytest.raises(ValueError, match="responses must be"):
        fitted.fit(PROMPTS, SCORES, responses=[["a", "b"]])
    assert vars(fitted).keys() == before.keys()
    assert all(vars(fitted)[name] is value for name, value in before.items())


def test_a_failed_fit_on_numbers_changes_nothing():
    fitted = router("passthrough").fit(np.eye(4), SCORES)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="y must be finite"):
        fitted.fit(np.ones((4, 7)), np.where(SCORES == 0.5, np.inf, SCORES))
    assert all(vars(fitted)[name] is value for name, value in before.items())


@pytest.fixture(scope="module")
def fitted(encoder):
    data = make_routing(60, random_state=0)
    return router(encoder).fit(data.prompts, data.scores, responses=data.responses)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=4))
def test_any_text_gets_finite_predictions(fitted, prompts):
    quality = fitted.predict_quality(prompts)
    assert quality.shape == (len(prompts), 6)
    assert np.isfinite(quality).all()
    assert len(fitted.foresee(prompts)) == len(prompts)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_score_table_gives_a_router_or_a_documented_error(data):
    n = data.draw(st.integers(1, 12))
    n_models = data.draw(st.integers(1, 5))
    cells = st.floats(-1e6, 1e6) | st.sampled_from([np.nan, 0.0, 1.0])
    scores = np.array(data.draw(st.lists(cells, min_size=n * n_models, max_size=n * n_models)))
    scores = scores.reshape(n, n_models)
    X = np.random.RandomState(0).randn(n, 3)
    try:
        fitted = router("passthrough").fit(X, scores)
    except ValueError:
        observed = ~np.isnan(scores)
        is_valid = n >= 2 and n_models >= 2 and observed.any(axis=1).all()
        assert not (is_valid and observed.any(axis=0).all())
    else:
        quality = fitted.predict_quality(X)
        assert np.isfinite(quality).all()
        slack = 1e-6 * (1 + np.nanmax(np.abs(scores)))
        assert quality.min() >= np.nanmin(scores) - slack
        assert quality.max() <= np.nanmax(scores) + slack
