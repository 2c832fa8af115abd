"""What written responses tell of the scores: closed forms, patterns of answers, the router."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge

from lookahead_sk import LookaheadRouter
from lookahead_sk.datasets import make_routing
from lookahead_sk.routing._answer_judge import PENALTIES, fit_judge
from lookahead_sk.routing._features._response_descriptors import pairwise_agreement


def draw(n=400, p=6, n_models=3, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, p)) * rng.uniform(0.5, 3, p) + rng.uniform(-1, 1, p)).astype("f4")
    e = x @ rng.standard_normal((p, n_models)) * [0.3, 0.05, 0.0] + rng.standard_normal((n, 3))
    return x, e - e.mean(axis=0)


def test_the_correction_is_a_ridge_regression_at_one_of_the_penalties():
    x, e = draw()
    found = fit_judge(x, e).corrections(x[:20])
    z = (x - x.mean(axis=0, dtype="f8")) / x.std(axis=0, dtype="f8")
    fits = [Ridge(penalty * len(x), fit_intercept=False).fit(z, e) for penalty in PENALTIES]
    for k in range(2):
        errors = [np.abs(found[:, k] - fit.predict(z[:20])[:, k]).max() for fit in fits]
        assert min(errors) < 1e-5


def test_the_penalty_is_that_of_leave_one_out_written_out():
    x, e = draw(n=120)
    z = (x - x.mean(axis=0, dtype="f8")) / x.std(axis=0, dtype="f8")
    scores = []
    for penalty in PENALTIES:
        hat = z @ np.linalg.solve(z.T @ z + penalty * len(z) * np.eye(6), z.T)
        rss = ((e[:, 0] - hat @ e[:, 0]) ** 2).mean()
        scores.append(rss / (1 - np.trace(hat) / len(z)) ** 2)
    best = Ridge(PENALTIES[int(np.argmin(scores))] * len(z), fit_intercept=False).fit(z, e[:, 0])
    assert_allclose(fit_judge(x, e).corrections(x)[:, 0], best.predict(z), atol=1e-5)


def test_an_answer_that_says_nothing_changes_nothing():
    x, _ = draw()
    e = np.random.default_rng(5).permutation(draw(seed=3)[1][:, 2:])
    few = fit_judge(x[:8], e[:8])
    assert_array_equal(few.corrections(np.full((4, 6), np.nan, dtype="f4")), 0.0)
    assert np.abs(fit_judge(x, e).corrections(x)).max() < 0.25
    constant = np.ones((50, 2), dtype="f4")
    assert_array_equal(fit_judge(constant, e[:50]).corrections(constant), 0.0)


def test_what_one_model_answered_is_judged_by_its_columns_alone():
    x, e = draw()
    partly = x.copy()
    partly[:, 3:] = np.nan
    assert_allclose(
        fit_judge(x, e).corrections(partly), fit_judge(x[:, :3], e).corrections(x[:, :3]), atol=1e-9
    )


def test_pairs_agree_by_cosine_and_by_final_answer():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2, 3, 4)).astype("f4")
    vectors[1, 2] = np.nan
    texts = np.array([["so 4", "it is 4", "5"], ["no number", "none", None]], dtype=object)
    found = pairwise_agreement(vectors, texts)
    a, b = vectors[0, 0], vectors[0, 1]
    assert_allclose(found[0, 0], a @ b / np.linalg.norm(a) / np.linalg.norm(b), rtol=1e-5)
    assert_array_equal(found[0, 3:], [1, 0, 0])
    assert_array_equal(found[1, 3:], [0, np.nan, np.nan])
    assert np.isnan(found[1, [1, 2]]).all()
    assert pairwise_agreement(np.ones((2, 13, 4), "f4"), None).shape == (2, 0)


@pytest.fixture(scope="module")
def fitted(encoder):
    """Careful: do not fit it again."""
    data = make_routing(400, random_state=0, as_frame=True)
    router = LookaheadRouter(encoder, lexical_features=32, random_state=0)
    return router.fit(data.prompts[:300], data.scores[:300], responses=data.responses[:300]), data


def test_answers_make_the_quality_better(fitted):
    router, data = fitted
    new, truth = data.prompts[300:], data.scores[300:].to_numpy()
    before = router.predict_quality(new)
    after = router.predict_quality(new, responses=data.responses[300:])
    assert ((after - truth) ** 2).mean() < 0.97 * ((before - truth) ** 2).mean()
    first = router.classes_[0]
    one = router.predict_quality(new, responses={first: data.responses[first][300:]})
    assert ((one - truth)[:, 0] ** 2).mean() < ((before - truth)[:, 0] ** 2).mean()


def test_a_mapping_an_array_and_a_frame_are_the_same(fitted):
    router, data = fitted
    new, answers = data.prompts[300:310], data.responses[300:310]
    name = router.classes_[2]
    table = np.full((10, 6), None, dtype=object)
    table[:, 2] = answers[name]
    table[4, 2] = None
    texts = table[:, 2].tolist()
    expected = router.predict_quality(new, responses=table)
    assert_array_equal(router.predict_quality(new, responses={name: texts}), expected)
    frame = pd.DataFrame({name: texts})
    assert_array_equal(router.predict_quality(new, responses=frame), expected)
    assert_array_equal(expected[4], router.predict_quality(new)[4])


def test_lengths_in_another_unit_are_not_measured_on_texts(encoder):
    data = make_routing(200, random_state=0)
    lengths = np.vectorize(len)(data.responses) / 4.0
    router = LookaheadRouter(encoder, lexical_features=0, random_state=0)
    router.fit(data.prompts, data.scores, responses=data.responses, response_lengths=lengths)
    new, answers = data.prompts[:5], data.responses[:5]
    known = router.predict_quality(new, responses=answers, response_lengths=lengths[:5])
    assert not np.allclose(known, router.predict_quality(new, responses=answers))


def test_numbers_are_judged_too_and_after_updates_columns_stay_in_order(encoder):
    rng = np.random.default_rng(0)
    X, scores = rng.standard_normal((200, 5)), rng.random((200, 3))
    responses = rng.standard_normal((200, 3, 7)) + scores[..., None]
    router = LookaheadRouter("passthrough", max_epochs=3, random_state=0)
    router.fit(X, scores, responses=responses)
    all_three = router.predict_quality(X[:9], responses=responses[:9])
    assert_allclose(all_three, scores[:9], atol=0.45)
    router.add_model("new", X, scores[:, 0])
    only_last = np.full((9, 4, 7), np.nan)
    only_last[:, 2] = responses[:9, 2]
    four = router.predict_quality(X[:9], responses=only_last)
    router.drop_model(0)
    three = router.predict_quality(X[:9], responses={2: responses[:9, 2]})
    assert_allclose(three, four[:, 1:])


def test_wrong_answers_are_refused(fitted, encoder):
    router, data = fitted
    new, name = data.prompts[300:303], router.classes_[0]
    with pytest.raises(ValueError, match="responses must be of models among"):
        router.predict_quality(new, responses={"nobody": ["a", "b", "c"]})
    with pytest.raises(ValueError, match="responses must be 3 for each model"):
        router.predict_quality(new, responses={name: ["a"]})
    with pytest.raises(ValueError, match="got a text of"):
        router.predict_quality(new, responses={name: "abc"})
    with pytest.raises(ValueError, match="responses must be given where response_lengths"):
        router.predict_quality(new, response_lengths={name: [1, 2, 3]})
    blind = LookaheadRouter(encoder, random_state=0).fit(data.prompts[:50], data.scores[:50])
    with pytest.raises(ValueError, match="fitted with responses"):
        blind.predict_quality(new, responses={name: ["a", "b", "c"]})


def test_a_saved_router_judges_alike(fitted, tmp_path):
    router, data = fitted
    router.save_pretrained(tmp_path / "router")
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router")
    new, answers = data.prompts[300:], data.responses[300:]
    assert_array_equal(
        loaded.predict_quality(new, responses=answers),
        router.predict_quality(new, responses=answers),
    )
