import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from lookahead_sk import baselines
from lookahead_sk.baselines import (
    BestSingleRouter,
    ClusterRouter,
    KNNRouter,
    MatrixFactorizationRouter,
    MLPRouter,
    OracleRouter,
    RandomRouter,
    RidgeRouter,
)
from lookahead_sk.datasets import make_routing
from lookahead_sk.metrics import best_single_model, routing_score

FAST_MLP = MLPRouter("passthrough", max_epochs=30, learning_rate=0.01, n_networks=1)
ROUTERS = [
    RandomRouter("passthrough"),
    BestSingleRouter("passthrough"),
    OracleRouter("passthrough"),
    KNNRouter("passthrough"),
    ClusterRouter("passthrough", n_clusters=8, n_clusterings=1),
    ClusterRouter("passthrough", n_clusters=8, assignment="soft", temperature=0.3),
    RidgeRouter("passthrough"),
    MatrixFactorizationRouter("passthrough"),
    FAST_MLP,
]
LEARNERS = ROUTERS[3:]


def name_of(router):
    soft = getattr(router, "assignment", "") == "soft"
    return type(router).__name__ + ("-soft" if soft else "")


each_router = pytest.mark.parametrize("router", ROUTERS, ids=name_of)
each_learner = pytest.mark.parametrize("router", LEARNERS, ids=name_of)


class HashedWords:
    """A stand-in for a sentence encoder: unit rows of hashed words."""

    max_seq_length = None
    n_calls = 0

    def encode(self, texts, **options):
        type(self).n_calls += 1
        vectors = HashingVectorizer(n_features=64, alternate_sign=False).transform(texts)
        return vectors.toarray().astype(np.float32)


def with_text(router):
    return clone(router).set_params(encoder=HashedWords(), random_state=0)


@pytest.fixture(scope="module")
def problem():
    """Three models, each best in its own region of the plane, with noise and ties."""
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(400, 2))
    angle = np.arctan2(X[:, 1], X[:, 0])
    region = np.digitize(angle, [-np.pi / 3, np.pi / 3])
    chance = np.where(np.arange(3) == region[:, None], 0.9, 0.2)
    scores = (rng.rand(400, 3) < chance).astype(float)
    return X[:300], scores[:300], X[300:], scores[300:]


@pytest.fixture(scope="module")
def text():
    return make_routing(400, kinds=["arithmetic", "string_edit", "weekday"], random_state=0)


@parametrize_with_checks(ROUTERS)
def test_they_obey_scikit_learns_contract(estimator, check):
    check(estimator)


@each_learner
def test_it_learns_where_each_model_is_best(problem, router):
    X, y, X_test, y_test = problem
    router = clone(router).set_params(random_state=0)
    if isinstance(router, ClusterRouter):
        router.set_params(n_clusters=None)
    fitted = router.fit(X, y)
    single, oracle = y_test[:, best_single_model(y)].mean(), y_test.max(axis=1).mean()
    assert fitted.score(X_test, y_test) > single + 0.5 * (oracle - single)


@each_router
def test_scores_that_were_not_observed_are_left_out(problem, router):
    X, y, X_test, y_test = problem
    y = y.copy()
    hidden = np.random.RandomState(1).rand(*y.shape) < 0.3
    hidden[np.arange(len(y)), np.arange(len(y)) % 3] = False
    y[hidden] = np.nan
    router = clone(router)
    if "random_state" in router.get_params():
        router.set_params(random_state=0)
    router.fit(X, y)
    quality = router.predict_quality(X_test)
    assert quality.shape == y_test.shape
    assert np.isfinite(quality).all()
    if name_of(router) not in ("RandomRouter", "BestSingleRouter", "OracleRouter"):
        assert router.score(X_test, y_test) > y_test.mean(axis=0).max() + 0.05


@each_router
def test_a_frame_names_the_models(problem, router):
    X, y, X_test, y_test = problem
    frame = pd.DataFrame(y[:60], columns=["small", "medium", "large"])
    fitted = clone(router).fit(X[:60], frame)
    assert fitted.classes_.tolist() == ["small", "medium", "large"]
    chosen = fitted.predict(X_test)
    assert set(chosen) <= {"small", "medium", "large"}
    turned = pd.DataFrame(y_test, columns=["small", "medium", "large"])[
        ["large", "small", "medium"]
    ]
    if not isinstance(router, OracleRouter):
        assert fitted.score(X_test, turned) == pytest.approx(routing_score(turned, chosen))


@each_router
def test_probabilities_and_choices_agree_and_it_survives_pickling(problem, router):
    X, y, X_test, _ = problem
    fitted = clone(router).fit(X[:80], y[:80])
    proba = fitted.predict_proba(X_test)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (fitted.classes_[proba.argmax(axis=1)] == fitted.predict(X_test)).all()
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_quality(X_test), fitted.predict_quality(X_test))


@each_learner
def test_the_temperature_makes_probabilities_honest(problem, router):
    X, y, X_test, y_test = problem
    fitted = clone(router).set_params(random_state=0).fit(X, y)
    best = y_test == y_test.max(axis=1, keepdims=True)
    useful = ~best.all(axis=1)
    target = best[useful] / best[useful].sum(axis=1, keepdims=True)
    loss = -np.mean(np.sum(target * np.log(fitted.predict_proba(X_test)[useful]), axis=1))
    assert loss < np.log(3) - 0.05  # better than even chances


@each_router
def test_random_state_makes_fits_equal(problem, router):
    X, y, X_test, _ = problem
    router = clone(router)
    if "random_state" in router.get_params():
        router.set_params(random_state=3)
    one, two = (clone(router).fit(X[:90], y[:90]).predict_quality(X_test) for _ in range(2))
    np.testing.assert_array_equal(one, two)


# Text


@pytest.mark.parametrize("router", LEARNERS, ids=name_of)
def test_text_is_routed_better_than_by_the_best_single_model(text, router):
    train, test = slice(0, 300), slice(300, None)
    fitted = with_text(router).fit(text.prompts[train], text.scores[train], text.responses[train])
    score = fitted.score(text.prompts[test], text.scores[test])
    assert score > text.scores[test, best_single_model(text.scores[train])].mean()
    assert (fitted.predict(list(text.prompts[test])) == fitted.predict(text.prompts[test])).all()


def test_lexical_features_stand_beside_the_embedding(text):
    router = with_text(KNNRouter()).set_params(lexical_features=20)
    fitted = router.fit(text.prompts[:100], text.scores[:100])
    assert fitted.model_.index.n_features_in_ == 64 + 20
    bare = router.set_params(lexical_features=0).fit(text.prompts[:100], text.scores[:100])
    assert bare.model_.index.n_features_in_ == 64


def test_prompts_without_a_word_have_no_lexical_features():
    prompts = [" ", "\n", "  ", "\t"]
    router = with_text(RidgeRouter()).fit(prompts, np.eye(2)[[0, 1, 0, 1]])
    assert router.lexical_ is None
    assert router.predict(["words"]).shape == (1,)


@pytest.mark.parametrize(
    "router", [RandomRouter(), BestSingleRouter(), OracleRouter()], ids=name_of
)
def test_routers_that_do_not_read_load_no_encoder(text, router):
    router = clone(router).set_params(encoder=HashedWords())
    before = HashedWords.n_calls
    router.fit(text.prompts, text.scores).predict(text.prompts)
    assert HashedWords.n_calls == before


# Each one


def test_chance_is_even_depends_on_content_alone_and_on_the_seed():
    prompts = [f"prompt {i}" for i in range(3000)]
    scores = np.tile([0.0, 0.5, 1.0], (3000, 1))
    router = RandomRouter(random_state=0).fit(prompts, scores)
    chosen = router.predict(prompts)
    counts = np.bincount(chosen, minlength=3)
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(3000 * 2 / 9)
    assert (router.predict(prompts[::-1]) == chosen[::-1]).all()
    other = RandomRouter(random_state=1).fit(prompts, scores).predict(prompts)
    assert 0.2 < np.mean(other == chosen) < 0.5


def test_the_best_single_router_takes_the_highest_mean(problem):
    X, y, X_test, _ = problem
    router = BestSingleRouter("passthrough").fit(X, y)
    assert set(router.predict(X_test)) == {best_single_model(y)}
    np.testing.assert_allclose(router.predict_quality(X_test[:1])[0], y.mean(axis=0))


def test_the_oracle_recalls_what_it_saw_and_scores_what_it_is_given(problem):
    X, y, X_test, y_test = problem
    oracle = OracleRouter("passthrough").fit(X_test, y_test)
    assert routing_score(y_test, oracle.predict(X_test)) == y_test.max(axis=1).mean()
    assert oracle.score(X, y) == pytest.approx(y.max(axis=1).mean())
    assert set(oracle.predict(X)) == {best_single_model(y_test)}
    weights = np.arange(len(y), dtype=float)
    expected = np.average(y.max(axis=1), weights=weights)
    assert oracle.score(X, y, sample_weight=weights) == pytest.approx(expected)


def test_the_oracle_skips_prompts_without_any_observation():
    oracle = OracleRouter().fit(["a", "b"], [[0.0, 1.0], [1.0, 0.0]])
    assert oracle.score(["a", "b"], [[np.nan, np.nan], [0.25, np.nan]]) == 0.25
    assert oracle.score(["a", "b"], [0, 1]) == 1


def test_the_oracle_averages_a_prompt_it_saw_twice():
    oracle = OracleRouter().fit(["a", "a", "b"], [[0.0, 0.6], [1.0, np.nan], [0.0, 0.0]])
    assert oracle.predict_quality(["a"]).tolist() == [[0.5, 0.6]]


def test_knn_by_hand():
    X = np.array([[0.0], [1.0], [2.0], [10.0]])
    y = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.75], [0.0, 1.0]])
    router = KNNRouter("passthrough", n_neighbors=2).fit(X, y)
    np.testing.assert_allclose(
        router.predict_quality([[0.4], [1.6]]), [[0.75, 0.25], [0.25, 0.625]]
    )


def test_knn_takes_few_neighbours_where_the_best_model_changes_fast():
    rng = np.random.RandomState(0)
    X = rng.uniform(0, 20, size=(600, 1))
    fast = np.eye(2)[np.floor(X[:, 0]).astype(int) % 2]
    slow = np.eye(2)[(X[:, 0] > 10).astype(int)]
    noise = rng.rand(600) < 0.4
    slow[noise] = slow[noise][:, ::-1]
    few, many = (KNNRouter("passthrough").fit(X, y).n_neighbors_ for y in (fast, slow))
    assert few <= 10
    assert many >= 50


def test_more_neighbours_than_prompts_are_all_other_prompts():
    router = KNNRouter("passthrough", n_neighbors=50).fit([[0.0], [1.0], [2.0]], np.eye(3))
    assert router.n_neighbors_ == 2


def test_one_cluster_is_the_best_single_model(problem):
    X, y, X_test, _ = problem
    router = ClusterRouter("passthrough", n_clusters=1).fit(X, y)
    np.testing.assert_allclose(router.predict_quality(X_test), np.tile(y.mean(axis=0), (100, 1)))


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_as_many_clusters_are_chosen_as_tell_the_models_apart(assignment):
    rng = np.random.RandomState(0)
    centre = rng.randint(8, size=400)
    X = 10 * np.eye(8)[centre] + 0.1 * rng.standard_normal((400, 8))
    told_apart = np.eye(2)[centre % 2]
    alike = np.eye(2)[rng.randint(2, size=400)]
    many, one = (
        ClusterRouter("passthrough", assignment=assignment, random_state=0).fit(X, y)
        for y in (told_apart, alike)
    )
    assert many.n_clusters_ >= 8
    assert many.score(X, told_apart) == 1
    assert one.n_clusters_ == 1


def test_soft_clusters_change_smoothly_and_hard_ones_jump():
    X = np.linspace(-1, 1, 40)[:, None]
    y = np.column_stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(float)
    grid = np.linspace(-1, 1, 400)[:, None]
    steps = {}
    for assignment in ("hard", "soft"):
        router = ClusterRouter(
            "passthrough",
            n_clusters=2,
            n_clusterings=1,
            assignment=assignment,
            temperature=1.0,
            random_state=0,
        ).fit(X, y)
        steps[assignment] = np.abs(np.diff(router.predict_quality(grid)[:, 0])).max()
    assert steps["hard"] > 10 * steps["soft"]


def test_several_clusterings_are_averaged(problem):
    X, y, X_test, _ = problem
    router = ClusterRouter("passthrough", n_clusters=6, n_clusterings=3, random_state=0).fit(X, y)
    each = np.array([model.predict(X_test) for model in router.model_.models])
    assert len(each) == 3
    assert np.abs(each[0] - each[1]).max() > 0
    np.testing.assert_allclose(router.predict_quality(X_test), each.mean(axis=0))


def test_clusters_of_few_distinct_prompts_do_not_warn():
    X, y = np.repeat([[0.0], [1.0]], 10, axis=0), np.repeat(np.eye(2), 10, axis=0)
    router = ClusterRouter("passthrough", n_clusters=8, random_state=0).fit(X, y)
    assert router.n_clusters_ == 2
    assert router.score(X, y) == 1


def test_a_factorisation_of_full_rank_is_the_ridge_regression(problem):
    X, y, X_test, _ = problem
    ridge = RidgeRouter("passthrough", alpha=1.0).fit(X, y)
    full = MatrixFactorizationRouter("passthrough", rank=2, alpha=1.0).fit(X, y)
    np.testing.assert_allclose(ridge.predict_quality(X_test), full.predict_quality(X_test))
    one = MatrixFactorizationRouter("passthrough", rank=1, alpha=1.0).fit(X, y)
    deviations = one.predict_quality(X_test)
    deviations = deviations - deviations.mean(axis=1, keepdims=True)
    singular = np.linalg.svd(deviations - deviations.mean(axis=0), compute_uv=False)
    assert singular[1] < 1e-8 * singular[0]


def test_the_penalty_grows_when_there_is_nothing_to_learn():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((200, 20))
    noise = rng.rand(200, 3)
    signal = np.column_stack([X[:, 0] > 0, X[:, 0] <= 0, X[:, 1] > 0]).astype(float)
    strong = RidgeRouter("passthrough", random_state=0).fit(X, noise).alpha_
    weak = RidgeRouter("passthrough", random_state=0).fit(X, signal).alpha_
    assert strong > 30 * weak


def test_a_low_rank_is_chosen_when_the_truth_has_one():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((300, 10))
    y = np.outer(X @ rng.standard_normal(10), rng.standard_normal(6))
    y += 0.5 * rng.standard_normal(y.shape)
    assert MatrixFactorizationRouter("passthrough", random_state=0).fit(X, y).rank_ == 1


def test_network_scores_are_in_the_units_of_y(problem):
    X, y, X_test, _ = problem
    plain = clone(FAST_MLP).set_params(random_state=0).fit(X, y).predict_quality(X_test)
    scaled = clone(FAST_MLP).set_params(random_state=0).fit(X, 5 * y - 2).predict_quality(X_test)
    np.testing.assert_allclose(scaled, 5 * plain - 2, atol=1e-6)


# Together with scikit-learn


def test_they_serve_in_searches_and_cross_validation(problem):
    X, y, _, _ = problem
    search = GridSearchCV(KNNRouter("passthrough"), {"n_neighbors": [5, 50]}, cv=3).fit(X, y)
    assert search.best_params_["n_neighbors"] in (5, 50)
    assert cross_val_score(RidgeRouter("passthrough"), X, y, cv=3).mean() > y.mean(axis=0).max()


@pytest.mark.parametrize(
    ("router", "message"),
    [
        (KNNRouter("passthrough", n_neighbors=0), "n_neighbors must be an int in"),
        (ClusterRouter("passthrough", n_clusters=0), "n_clusters must be an int in"),
        (ClusterRouter("passthrough", n_clusterings=0), "n_clusterings must be an int in"),
        (ClusterRouter("passthrough", assignment="fuzzy"), "assignment must be one of 'hard'"),
        (ClusterRouter("passthrough", shrinkage=-1.0), "shrinkage must be a float in"),
        (
            ClusterRouter("passthrough", assignment="soft", temperature=0.0),
            "temperature must be a float in",
        ),
        (RidgeRouter("passthrough", alpha=0.0), "alpha must be a float in"),
        (MatrixFactorizationRouter("passthrough", rank=0), "rank must be an int in"),
        (MLPRouter("passthrough", dropout=1.0), "dropout must be a float in"),
        (MLPRouter("passthrough", hidden_size=0), "hidden_size must be an int in"),
        (MLPRouter("passthrough", n_networks=0), "n_networks must be an int in"),
        (MLPRouter("passthrough", validation_fraction=1.0), "validation_fraction must be"),
        (RidgeRouter("passthrough", lexical_features=-1), "lexical_features must be an int in"),
    ],
)
def test_bad_parameters_are_named_and_nothing_is_fitted(problem, router, message):
    X, y, _, _ = problem
    with pytest.raises(ValueError, match=message):
        router.fit(X, y)
    assert not hasattr(router, "classes_")
    assert not hasattr(router, "model_")


@each_router
def test_one_prompt_is_enough(router):
    fitted = clone(router).fit([[0.5, 1.0]], [[0.2, 0.9]])
    assert fitted.predict_quality([[0.0, 0.0]]).shape == (1, 2)


def test_every_public_router_is_tested_here():
    assert {type(router).__name__ for router in ROUTERS} == set(baselines.__all__)
