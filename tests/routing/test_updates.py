"""Feedback, models added and models dropped, against formulas written out and refits."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lookahead_sk import LookaheadRouter
from lookahead_sk.routing._local_average._clusters import (
    fit_clusters,
    single_cluster,
)
from lookahead_sk.routing._local_average._mixture import mix
from lookahead_sk.routing._local_average._neighbors import fit_neighbors

NAMES = ["small", "large", "coder"]


def world(seed, n):
    """Each model is good on its own side of the space; responses show the side."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n, 5)
    y = 0.5 + 0.3 * np.stack([X[:, 0], X[:, 1], -X[:, 0]], axis=1) + 0.05 * rng.randn(n, 3)
    responses = np.stack([X, 0.5 * X, -X], axis=1)
    lengths = np.exp(2 + np.stack([X[:, 2], 1 + X[:, 2], 0 * X[:, 2]], axis=1))
    return X, y, responses, lengths


@pytest.fixture(scope="module")
def fitted():
    X, y, responses, lengths = world(0, 400)
    router = LookaheadRouter(encoder="passthrough", max_epochs=4, random_state=0)
    return router.fit(
        X, pd.DataFrame(y, columns=NAMES), responses=responses, response_lengths=lengths
    )


@pytest.fixture
def router(fitted):
    return copy.deepcopy(fitted)


def state(router):
    return copy.deepcopy({k: v for k, v in vars(router).items() if k.endswith("_")})


def assert_same_state(before, after):
    assert before.keys() == after.keys()
    assert str(before) == str(after)


@pytest.mark.parametrize("with_gaps", [False, True])
def test_updated_clusters_are_the_formula_on_all_prompts(with_gaps):
    rng = np.random.default_rng(0)
    z, new = rng.normal(size=(90, 3)).astype("f4"), rng.normal(size=(40, 3)).astype("f4")
    y, more = rng.random((90, 2)), rng.random((40, 2))
    if with_gaps:
        y[rng.random(y.shape) < 0.3] = np.nan
        more[rng.random(more.shape) < 0.6] = np.nan
    clusters = fit_clusters(z, y, 8, 0, np.arange(90), np.arange(90) % 5)[-1][0]
    updated = clusters.updated(new[:10], more[:10]).updated(new[10:], more[10:])
    asked = rng.normal(size=(7, 3)).astype("f4")

    def memberships(points, centers, temperature):
        squared = ((points[:, None] - centers) ** 2).sum(-1)
        weights = np.exp(-(squared - squared.min(1, keepdims=True)) / temperature)
        return weights / weights.sum(1, keepdims=True)

    points, scores = np.concatenate([z, new]), np.concatenate([y, more])
    expected = np.zeros((7, 2))
    for centers, temperature in zip(clusters.centers, clusters.temperatures, strict=True):
        w = memberships(points, centers, temperature)
        v = memberships(asked, centers, temperature)
        for k in range(2):
            seen = ~np.isnan(scores[:, k])
            mean = scores[seen, k].mean()
            total = w[seen].T @ scores[seen, k] + clusters.shrinkage * mean
            expected[:, k] += v @ (total / (w[seen].sum(0) + clusters.shrinkage))
    np.testing.assert_allclose(updated.predict(asked), expected / len(clusters.centers), rtol=1e-4)
    once = clusters.updated(new, more)
    np.testing.assert_allclose(updated.predict(asked), once.predict(asked), rtol=1e-10)
    assert (clusters.zeroed().predict(asked) == 0).all()


def test_updated_neighbours_are_those_of_all_prompts():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(60, 3)).astype("f4"), rng.random((60, 2))
    asked = rng.normal(size=(7, 3)).astype("f4")
    wholes = fit_neighbors(z, y, np.arange(60), np.arange(60) % 5)
    for (first, _), (whole, _) in zip(
        fit_neighbors(z[:40], y[:40], np.arange(40), np.arange(40) % 5), wholes, strict=False
    ):
        grown = first.updated(z[40:], y[40:])
        np.testing.assert_array_equal(grown.predict(asked), whole.predict(asked))
        assert (first.zeroed().predict(asked) == 0).all()


def test_a_mixture_is_updated_member_by_member():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(60, 3)).astype("f4"), rng.random((60, 2))
    clusters = fit_clusters(z, y, 4, 0, np.arange(60), np.arange(60) % 5)[1][0]
    neighbors = fit_neighbors(z, y, np.arange(60), np.arange(60) % 5)[2][0]
    mixture = mix([clusters, neighbors])
    new, scores = rng.normal(size=(9, 3)).astype("f4"), rng.random((9, 2))
    expected = [one.updated(new, scores).predict(z) for one in (clusters, neighbors)]
    np.testing.assert_allclose(mixture.updated(new, scores).predict(z), np.mean(expected, axis=0))
    assert (mixture.zeroed().predict(z) == 0).all()
    once = mixture.emptied().updated(new, scores[:, :1])
    assert once.predict(z).shape == (60, 1)


def test_single_cluster_tells_the_mean_over_all_prompts_ever_seen():
    cluster = single_cluster(3, np.array([10.0, 30.0]))
    z = np.ones((4, 3), dtype="f4")
    assert (cluster.predict(z) == 0).all()
    y = np.array([[1.0, np.nan]] * 10)
    assert cluster.updated(np.ones((10, 3), "f4"), y).predict(z)[0].tolist() == [0.5, 0.0]


def test_feedback_in_parts_is_feedback_at_once(router):
    X, y, _, _ = world(1, 90)
    parts, once = copy.deepcopy(router), copy.deepcopy(router)
    for rows in np.array_split(np.arange(90), 4):
        parts.partial_fit(X[rows], y[rows])
    once.partial_fit(X, y)
    # Latents are float32, and BLAS rounds them by the size of the batch.
    np.testing.assert_allclose(parts.predict_quality(X), once.predict_quality(X), rtol=1e-6)
    np.testing.assert_allclose(parts.mean_scores_, once.mean_scores_)
    both = np.concatenate([world(0, 400)[1], y])
    np.testing.assert_allclose(once.mean_scores_, both.mean(axis=0))
    assert once.n_prompts_ == 490


@pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])
def test_feedback_of_the_called_model_only_teaches_what_has_changed(router, blend):
    router.predictor_ = replace(router.predictor_, blend=blend)
    X, y, _, _ = world(1, 6000)
    y[:, 0] += 0.6  # the small model has been replaced by a better one
    test, truth = X[:500], y[:500]
    before = router.predict_quality(test)
    rng = np.random.RandomState(0)
    for rows in np.array_split(np.arange(500, 6000), 50):
        chosen = router.predict(X[rows])
        at_random = rng.random_sample(len(rows)) < 0.2
        chosen = np.where(at_random, np.array(NAMES)[rng.randint(3, size=len(rows))], chosen)
        router.partial_fit(X[rows], np.where(chosen[:, None] == NAMES, y[rows], np.nan))
    after = router.predict_quality(test)
    was, now = (np.abs(q - truth).mean(axis=0) for q in (before, after))
    assert now[0] < 0.35 * was[0]  # old scores count too: it cannot be forgotten at once
    assert (now[1:] < was[1:] + 0.02).all()


def test_a_table_may_lack_models_and_labels_name_the_best(router):
    X, y, _, _ = world(1, 20)
    whole, part = copy.deepcopy(router), copy.deepcopy(router)
    table = np.full((20, 3), np.nan)
    table[:, [2, 0]] = y[:, [2, 0]]
    whole.partial_fit(X, table)
    part.partial_fit(X, pd.DataFrame(y, columns=NAMES)[["coder", "small"]])
    np.testing.assert_array_equal(whole.predict_quality(X), part.predict_quality(X))
    labels, one_hot = copy.deepcopy(router), copy.deepcopy(router)
    best = y.argmax(axis=1)
    labels.partial_fit(X, np.array(NAMES)[best])
    one_hot.partial_fit(X, np.eye(3)[best])
    np.testing.assert_array_equal(labels.predict_quality(X), one_hot.predict_quality(X))


def test_the_first_partial_fit_is_fit():
    X, y, _, _ = world(0, 60)
    options = {"encoder": "passthrough", "max_epochs": 2, "random_state": 0}
    one = LookaheadRouter(**options).partial_fit(X, y)
    np.testing.assert_array_equal(
        one.predict_quality(X), LookaheadRouter(**options).fit(X, y).predict_quality(X)
    )
    with pytest.raises(ValueError, match=r"classes must be what y shows, \[0, 1\]"):
        LookaheadRouter(**options).partial_fit(X, np.arange(60) % 2, classes=[0, 1, 2])


def test_an_added_model_changes_nothing_else_and_is_learnt(router):
    X, _, _, _ = world(2, 300)
    score = 0.4 - 0.3 * X[:, 1]  # the opposite of the large one
    before = router.predict_quality(X)
    responses, lengths = 2 * X, np.exp(3 + X[:, 2])
    router.add_model("opposite", X, score, responses=responses, response_lengths=lengths)
    test, _, _, test_lengths = world(3, 200)
    assert router.classes_.tolist() == [*NAMES, "opposite"]
    np.testing.assert_array_equal(router.predict_quality(X)[:, :3], before)
    found = router.predict_quality(test)[:, 3]
    truth = 0.4 - 0.3 * test[:, 1]
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert router.mean_scores_[3] == pytest.approx(score.mean())
    assert (router.predict(test) == "opposite").mean() > 0.05
    priced = router.set_params(costs=[1.0, 1.0, 1.0, 1.0], cost_unit="length")
    foreseen = priced.predict_cost(test)
    assert np.corrcoef(np.log(foreseen[:, 3]), 3 + test[:, 2])[0, 1] > 0.9
    assert np.corrcoef(np.log(foreseen[:, 1]), np.log(test_lengths[:, 1]))[0, 1] > 0.8
    expected = router.foresee(test[:5])[0]["opposite"]
    assert expected["response"] is None
    nearest = responses[expected["row"]]
    cosine = nearest @ (2 * test[0]) / np.linalg.norm(nearest) / np.linalg.norm(2 * test[0])
    assert cosine > 0.7
    assert expected["similarity"] > 0.7
    assert router.transform(test).shape == (
        200,
        len(NAMES) * router.predictor_.network.descriptors.n_descriptors,
    )


def test_an_added_model_learns_from_feedback(router):
    X, _, _, _ = world(2, 40)
    router.add_model("new", X, np.zeros(40))
    more, _, _, _ = world(4, 800)
    feedback = np.full((800, 4), np.nan)
    feedback[:, 3] = (more[:, 0] > 0) * 1.0
    before = router.predict_quality(more)
    router.partial_fit(more, feedback)
    after = router.predict_quality(more)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert after[more[:, 0] > 0.3, 3].mean() > after[more[:, 0] < -0.3, 3].mean() + 0.3
    assert router.predictor_.updates.counts.tolist() == [400, 400, 400, 840]


def test_a_dropped_model_is_never_chosen_and_changes_nothing_else(router):
    X, y, responses, _ = world(2, 50)
    before = router.predict_quality(X)
    router.add_model("new", X, y[:, 0], responses=responses[:, 0])
    new = router.predict_quality(X)[:, 3]
    router.drop_model("small")
    assert router.classes_.tolist() == ["large", "coder", "new"]
    np.testing.assert_array_equal(router.predict_quality(X)[:, :2], before[:, 1:])
    np.testing.assert_array_equal(router.predict_quality(X)[:, 2], new)
    assert set(router.predict(X)) <= {"large", "coder", "new"}
    assert list(router.foresee(X[:1])[0]) == ["large", "coder", "new"]
    assert router.predict_proba(X).shape == (50, 3)
    router.partial_fit(X, np.ones((50, 3)))
    assert router.score(X, np.ones((50, 3))) == 1.0
    router.drop_model("large")
    with pytest.raises(ValueError, match="At least two models must remain"):
        router.drop_model("new")
    router.add_model("small", X, y[:, 0])  # it may come back, as a new model
    assert router.classes_.tolist() == ["coder", "new", "small"]


def test_what_was_learnt_later_is_saved(router, tmp_path):
    X, y, responses, _ = world(2, 50)
    router.add_model("new", X, y[:, 0], responses=responses[:, 0], response_lengths=np.ones(50))
    router.drop_model("large").partial_fit(X, np.where([True, False, True], y, np.nan))
    router.save_pretrained(tmp_path / "router")
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router")
    np.testing.assert_array_equal(loaded.predict_quality(X), router.predict_quality(X))
    np.testing.assert_array_equal(loaded.novelty_p_values(X), router.novelty_p_values(X))
    assert loaded.foresee(X[:2]) == router.foresee(X[:2])
    more = [r.partial_fit(X, y).predict_quality(X) for r in (loaded, router)]
    np.testing.assert_array_equal(*more)


def test_text_routers_take_feedback_and_new_models(encoder):
    words = ["alpha", "beta", "gamma", "delta"]
    rng = np.random.RandomState(0)
    prompts = [" ".join(rng.choice(words, 5)) for _ in range(60)]
    count = np.array([[p.count("alpha"), p.count("beta")] for p in prompts], dtype=float)
    texts = np.array([[p.upper(), p.title()] for p in prompts], dtype=object)
    router = LookaheadRouter(encoder=encoder, max_epochs=2, random_state=0)
    router.fit(prompts, count, responses=texts)
    old = router.predict_quality(prompts)
    answers = [f"{p} {p}" for p in prompts]
    answers[3] = None
    router.add_model("double", prompts, count.sum(axis=1), responses=answers)
    np.testing.assert_array_equal(router.predict_quality(prompts)[:, :2], old)
    expected = router.foresee(prompts[:1])[0]["double"]
    assert expected["response"] in answers
    lengths = [len(text) for text in answers if text]
    assert min(lengths) / 2 < expected["length"] < max(lengths) * 2
    router.partial_fit(prompts, pd.DataFrame({"double": np.ones(60)}))


BAD = {
    "no score": (lambda r, X, y: r.partial_fit(X, y * np.nan), "row 0 has none"),
    "shape": (lambda r, X, y: r.partial_fit(X, y[:, :2]), r"y must be of shape \(50, 3\)"),
    "rows": (lambda r, X, y: r.partial_fit(X, y[:9]), r"y must be of shape \(50, 3\)"),
    "label": (lambda r, X, y: r.partial_fit(X, ["huge"] * 50), "labels among .*got 'huge'"),
    "column": (
        lambda r, X, y: r.partial_fit(X, pd.DataFrame(y, columns=["small", "large", "x"])),
        "add_model makes",
    ),
    "infinite": (lambda r, X, y: r.partial_fit(X, y + np.inf), "y must be finite"),
    "width": (lambda r, X, y: r.partial_fit(X[:, :2], y), "features"),
    "classes": (lambda r, X, y: r.partial_fit(X, y, classes=[1]), "classes must be the models"),
    "known": (lambda r, X, y: r.add_model("small", X, y[:, 0]), "name must be a new name"),
    "few": (lambda r, X, y: r.add_model("n", X[:9], y[:9, 0]), "X must be at least 10 prompts"),
    "nan": (lambda r, X, y: r.add_model("n", X, y[:, 0] * np.nan), "nan in row 0"),
    "2-d": (lambda r, X, y: r.add_model("n", X, y), r"y must be of shape \(50,\)"),
    "responses": (
        lambda r, X, y: r.add_model("n", X, y[:, 0], responses=X[:, :2]),
        r"responses must be of shape \(n, 5\), as those of fit",
    ),
    "lengths": (
        lambda r, X, y: r.add_model("n", X, y[:, 0], response_lengths=-X[:, 0]),
        "response_lengths must be at least 0",
    ),
    "unknown": (lambda r, X, y: r.drop_model("huge"), "name must be one of"),
    "fallback": (lambda r, X, y: r.set_params(fallback="small").drop_model("small"), "fallback"),
    "costs": (
        lambda r, X, y: r.set_params(costs=[1, 2, 3]).add_model("n", X, y[:, 0]),
        r"costs must be 4 finite numbers.*set_params\(costs=\.\.\.\) before",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_changes_nothing(router, name):
    call, message = BAD[name]
    X, y, _, _ = world(2, 50)
    before = state(router)
    with pytest.raises(ValueError, match=message):
        call(router, X, y)
    assert_same_state(before, state(router))


def test_lengths_of_every_model_are_needed_where_they_are_paid(router):
    X, y, _, _ = world(2, 50)
    router.set_params(costs={"new": 1.0, **dict.fromkeys(NAMES, 1.0)}, cost_unit="length")
    with pytest.raises(ValueError, match="response_lengths must be given where cost_unit='length'"):
        router.add_model("new", X, y[:, 0])
    router.set_params(cost_unit="call").add_model("new", X, y[:, 0]).set_params(cost_unit="length")
    with pytest.raises(ValueError, match=r"lengths of every model; \['new'\] came without"):
        router.predict(X)
    router.drop_model("new").predict(X)


def test_masked_scores_are_not_observed(router):
    X, y, _, _ = world(2, 50)
    hidden = np.arange(150).reshape(50, 3) % 3 != 0
    masked, gaps = np.ma.masked_array(y, mask=hidden), np.where(hidden, np.nan, y)
    assert router.score(X, masked) == router.score(X, gaps)
    one, other = copy.deepcopy(router), copy.deepcopy(router)
    one.partial_fit(X, masked)
    np.testing.assert_array_equal(
        one.predict_quality(X), other.partial_fit(X, gaps).predict_quality(X)
    )


def test_numbers_are_no_labels_for_a_router_of_numbered_models():
    X, y, _, _ = world(0, 60)
    router = LookaheadRouter(encoder="passthrough", max_epochs=1, random_state=0).fit(X, y)
    for thumbs in ([0, 1] * 30, [0.0, 1.0] * 30, [True, False] * 30):
        with pytest.raises(ValueError, match=r"y must be scores of shape \(60, 3\)"):
            router.partial_fit(X, thumbs)
    labels = LookaheadRouter(encoder="passthrough", max_epochs=1, random_state=0)
    labels.fit(X, [0, 1] * 30).partial_fit(X, [0, 1] * 30, classes=[0, 1])
    first = LookaheadRouter(encoder="passthrough", max_epochs=1, random_state=0)
    first.partial_fit(X, pd.DataFrame(y, columns=NAMES), classes=NAMES)


def test_costs_of_a_series_go_by_name(router, tmp_path):
    X, _, _, _ = world(2, 5)
    router.set_params(costs=pd.Series({"coder": 3.0, "small": 1.0, "large": 2.0}))
    assert router.predict_cost(X)[0].tolist() == [1, 2, 3]
    router.save_pretrained(tmp_path / "router")
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router")
    assert loaded.predict_cost(X)[0].tolist() == [1, 2, 3]
    router.set_params(costs=pd.Series([1.0, 2.0, 3.0]))
    assert router.predict_cost(X)[0].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="fallback must be None or one of"):
        LookaheadRouter.from_pretrained(tmp_path / "router", fallback="zz")


@pytest.mark.parametrize("name", [["d"], None, float("nan"), np.array(["a", "b"])])
def test_what_cannot_be_a_name_is_refused(router, name):
    X, y, _, _ = world(2, 50)
    for call in (lambda: router.add_model(name, X, y[:, 0]), lambda: router.drop_model(name)):
        with pytest.raises((TypeError, ValueError), match="name must be a name"):
            call()


def test_one_observed_length_is_the_length_of_all(router):
    X, y, _, _ = world(2, 50)
    lengths = np.full(50, np.nan)
    lengths[3] = 7
    router.add_model("n", X, y[:, 0], response_lengths=lengths)
    router.set_params(costs=[1.0] * 4, cost_unit="length")
    np.testing.assert_allclose(router.predict_cost(X)[:, 3], 7)
