"""LookaheadRouter on text: a check suite that mirrors scikit-learn's, and what is its own."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from lookahead_sk import LookaheadRouter
from lookahead_sk.datasets import make_routing
from lookahead_sk.metrics._tables import aligned

QUICK = {"max_epochs": 8, "learning_rate": 5e-3, "lexical_features": 32, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    return make_routing(160, random_state=0)


@pytest.fixture(scope="module")
def fitted(data, encoder):
    """Careful: do not fit it again, other tests use it."""
    router = LookaheadRouter(encoder=encoder, **QUICK)
    names = pd.DataFrame(data.scores, columns=data.models)
    return router.fit(data.prompts, names, responses=data.responses)


def quick(encoder, **changes):
    return LookaheadRouter(encoder=encoder, **{**QUICK, **changes})


def test_predictions_have_the_shapes_and_classes_of_the_score_table(data, fitted):
    n, n_models = data.scores.shape
    assert fitted.classes_.tolist() == data.models
    assert fitted.predict(data.prompts).shape == (n,)
    assert set(fitted.predict(data.prompts)) <= set(data.models)
    for method in ("predict_quality", "predict_proba", "decision_function"):
        values = getattr(fitted, method)(data.prompts)
        assert values.shape == (n, n_models)
        assert np.isfinite(values).all()
        assert_array_equal(fitted.classes_[values.argmax(axis=1)], fitted.predict(data.prompts))
    assert_allclose(fitted.predict_proba(data.prompts).sum(axis=1), 1)


def test_score_is_the_mean_score_of_the_chosen_models(data, fitted):
    chosen = fitted.predict(data.prompts)
    column = [data.models.index(name) for name in chosen]
    rewards = data.scores[np.arange(len(chosen)), column]
    assert fitted.score(data.prompts, data.scores) == pytest.approx(rewards.mean())
    weight = np.arange(1.0, len(chosen) + 1)
    expected = np.average(rewards, weights=weight)
    assert fitted.score(data.prompts, data.scores, sample_weight=weight) == pytest.approx(expected)


def test_score_reads_a_data_frame_by_its_column_names(data, fitted):
    frame = pd.DataFrame(data.scores, columns=data.models)
    shuffled = frame[frame.columns[::-1]]
    assert fitted.score(data.prompts, shuffled) == fitted.score(data.prompts, frame)
    with pytest.raises(ValueError, match="y must be a table with the columns"):
        fitted.score(data.prompts, frame.drop(columns=data.models[0]))


@pytest.mark.parametrize("container", [list, tuple, np.array, pd.Series])
def test_every_container_of_texts_gives_the_same_predictions(data, fitted, container):
    expected = fitted.predict_quality(data.prompts[:5])
    assert_allclose(fitted.predict_quality(container(list(data.prompts[:5]))), expected)


def test_predictions_do_not_depend_on_the_batch_they_come_in(data, fitted):
    together = fitted.predict_quality(data.prompts[:6])
    alone = np.vstack([fitted.predict_quality([prompt]) for prompt in data.prompts[:6]])
    assert_allclose(alone, together, atol=1e-4)


def test_fit_twice_and_clone_give_the_same_router(data, encoder):
    router = quick(encoder)
    first = router.fit(data.prompts, data.scores, responses=data.responses)
    quality = first.predict_quality(data.prompts[:20])
    again = clone(router).fit(data.prompts, data.scores, responses=data.responses)
    assert_allclose(again.predict_quality(data.prompts[:20]), quality, rtol=1e-6)
    refitted = router.fit(data.prompts, data.scores, responses=data.responses)
    assert_allclose(refitted.predict_quality(data.prompts[:20]), quality, rtol=1e-6)


def test_fit_leaves_its_input_alone(data, encoder):
    prompts, scores, responses = list(data.prompts), data.scores.copy(), data.responses.copy()
    quick(encoder).fit(prompts, scores, responses=responses)
    assert prompts == list(data.prompts)
    assert_array_equal(scores, data.scores)
    assert_array_equal(responses, data.responses)


@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_a_stored_router_predicts_the_same(data, fitted, how, tmp_path):
    if how == "pickle":
        loaded = pickle.loads(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, tmp_path / "router.joblib")
        loaded = joblib.load(tmp_path / "router.joblib")
    expected = fitted.predict_quality(data.prompts[:9])
    assert_allclose(loaded.predict_quality(data.prompts[:9]), expected)


def test_the_fitted_state_holds_no_torch_tensors(fitted):
    import torch

    network = fitted.predictor_.network
    assert all(isinstance(value, np.ndarray) for value in network.weights.values())
    assert not any(isinstance(value, torch.Tensor) for value in vars(network).values())
    assert not any(isinstance(value, torch.Tensor) for value in vars(fitted.predictor_).values())


def test_every_method_needs_fit(encoder):
    router = quick(encoder)
    for method in (
        "predict",
        "predict_quality",
        "predict_proba",
        "decision_function",
        "transform",
        "foresee",
    ):
        with pytest.raises(NotFittedError):
            getattr(router, method)(["a prompt"])


def test_labels_make_it_a_plain_classifier(data, encoder):
    labels = np.array(data.benchmark, dtype=object)
    router = quick(encoder, max_epochs=30).fit(data.prompts, labels)
    assert set(router.classes_) == set(labels)
    assert router.score(data.prompts, labels) > 0.7


def test_two_models_give_a_one_dimensional_decision_function(data, encoder):
    router = quick(encoder).fit(data.prompts, data.scores[:, :2])
    decision = router.decision_function(data.prompts)
    assert decision.shape == (len(data.prompts),)
    assert_array_equal((decision > 0).astype(int), router.predict(data.prompts))


def test_scores_that_were_not_observed_are_left_out(data, encoder):
    rng = np.random.RandomState(0)
    scores = data.scores.copy()
    hidden = rng.rand(*scores.shape) < 0.3
    hidden[np.arange(len(scores)), rng.randint(scores.shape[1], size=len(scores))] = False
    scores[hidden] = np.nan
    responses = data.responses.copy()
    responses[hidden] = None
    router = quick(encoder).fit(data.prompts, scores, responses=responses)
    quality = router.predict_quality(data.prompts)
    assert np.isfinite(quality).all()
    assert abs(quality.mean(axis=0) - np.nanmean(scores, axis=0)).max() < 0.1
    assert np.isfinite(router.score(data.prompts, scores))


def test_costs_lower_the_utility_and_leave_the_quality_alone(data, encoder):
    free = quick(encoder).fit(data.prompts, data.scores)
    costs = dict(enumerate(data.costs))
    paid = clone(free).set_params(costs=costs, cost_weight=0.02).fit(data.prompts, data.scores)
    assert_allclose(paid.predict_quality(data.prompts), free.predict_quality(data.prompts))
    expected = free.predict_quality(data.prompts) - 0.02 * np.array(data.costs)
    assert_allclose(paid.decision_function(data.prompts), expected)
    mean_cost = [np.mean(np.array(data.costs)[r.predict(data.prompts)]) for r in (free, paid)]
    assert mean_cost[1] < mean_cost[0]


def test_transform_gives_named_latents_and_a_frame_on_request(data, fitted):
    latents = fitted.transform(data.prompts[:4])
    names = fitted.get_feature_names_out()
    assert latents.shape == (4, len(names))
    frame = clone(fitted).set_output(transform="pandas")
    frame = frame.fit(data.prompts, data.scores).transform(data.prompts[:4])
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns[0] == "lookaheadrouter0"


def test_latents_foresee_the_length_of_responses(data, encoder):
    router = quick(encoder, max_epochs=30).fit(data.prompts, data.scores, responses=data.responses)
    new = make_routing(80, random_state=1)
    true = np.array([[len(text) for text in row] for row in new.responses])
    seen = [router.foresee([prompt])[0] for prompt in new.prompts]
    foreseen = np.array([[row[k]["length"] for k in router.classes_] for row in seen])
    for k in range(true.shape[1]):  # model by model: knowing which model is verbose is not enough
        assert np.corrcoef(np.log1p(true[:, k]), np.log1p(foreseen[:, k]))[0, 1] > 0.3


def test_foresee_names_a_real_training_response(data, fitted):
    (seen,) = fitted.foresee(data.prompts[:1])
    assert list(seen) == data.models
    for k, name in enumerate(data.models):
        assert seen[name]["response"] == data.responses[seen[name]["row"], k]
        assert -1 - 1e-6 <= seen[name]["similarity"] <= 1 + 1e-6
        assert seen[name]["length"] >= 0


@pytest.mark.parametrize("changes", [{"response_weight": 0.0}, {}])
def test_foresee_needs_responses(data, encoder, changes):
    responses = data.responses if changes else None
    router = quick(encoder, **changes).fit(data.prompts, data.scores, responses=responses)
    with pytest.raises(ValueError, match="foresee needs a router"):
        router.foresee(data.prompts[:1])


def test_numeric_responses_go_with_passthrough(data):
    rng = np.random.RandomState(0)
    X = rng.randn(80, 6)
    responses = X[:, None, :] + rng.randn(80, 3, 6)
    scores = (X[:, :3] > 0).astype(float)
    scores[:, 0] = 0.5
    router = quick("passthrough").fit(X, scores, responses=responses, response_lengths=scores + 1)
    (seen,) = router.foresee(X[:1])
    assert seen[0]["response"] is None
    assert seen[0]["length"] is not None
    assert router.score(X, scores) > scores.mean(axis=0).max()


@pytest.fixture(scope="module")
def unpredictable():
    """Scores that have nothing to do with the prompts; model 1 is the best on average."""
    rng = np.random.RandomState(0)
    X, scores = rng.randn(400, 6), rng.rand(400, 3) + [0, 0.3, 0.25]
    return X, scores, quick("passthrough").fit(X, scores)


def test_where_routing_gains_nothing_the_best_single_model_is_called(unpredictable, tmp_path):
    X, scores, router = unpredictable
    assert router.always_best_single_
    assert (router.predict(np.random.RandomState(1).randn(300, 6)) == 1).all()
    assert router.validation_score_ == pytest.approx(scores[:, 1].mean())
    router.save_pretrained(tmp_path)
    assert (
        "routing gained nothing over the best single model" in (tmp_path / "README.md").read_text()
    )
    loaded = LookaheadRouter.from_pretrained(tmp_path)
    assert loaded.always_best_single_
    assert_array_equal(loaded.predict_quality(X), router.predict_quality(X))


def test_costs_may_still_speak_against_the_best_single_model(unpredictable):
    X, scores, router = unpredictable
    cheap = clone(router).set_params(costs=[0, 1, 0], cost_weight=0.2).fit(X, scores)
    assert cheap.always_best_single_
    assert (cheap.predict(X) == 2).mean() > 0.9


def test_where_routing_gains_the_best_single_model_has_no_privilege(unpredictable, tmp_path):
    X, scores, _ = unpredictable
    scores = scores + (X[:, :3] > 0)
    router = quick("passthrough").fit(X, scores)
    assert not router.always_best_single_
    assert len(set(router.predict(X))) == 3
    router.save_pretrained(tmp_path)
    assert "routing gained over always calling" in (tmp_path / "README.md").read_text()


def test_texts_beside_numeric_responses_give_the_descriptors_of_texts(data):
    rng = np.random.RandomState(0)
    X = rng.randn(80, 6)
    texts = np.array([[f"{k}\n{k + i % 3}" for k in range(3)] for i in range(80)], dtype=object)
    given = {"responses": rng.randn(80, 3, 6), "response_texts": texts}
    router = quick("passthrough").fit(X, rng.rand(80, 3), **given)
    (seen,) = router.foresee(X[:1])
    assert seen[1]["response"] == texts[seen[1]["row"], 1]
    assert seen[1]["length"] == pytest.approx(3, abs=0.1)
    plain = quick("passthrough").fit(X, rng.rand(80, 3), responses=given["responses"])
    n_more = router.transform(X).shape[1] - plain.transform(X).shape[1]
    assert n_more == 3 * (1 + 4 + 1)  # length, form, agreement of final answers


def test_text_pipeline_with_passthrough(data):
    pipeline = make_pipeline(
        TfidfVectorizer(),
        TruncatedSVD(16, random_state=0),
        quick("passthrough"),
    )
    pipeline.fit(data.prompts, data.scores)
    assert pipeline.predict(data.prompts).shape == (len(data.prompts),)
    assert cross_val_score(pipeline, data.prompts, data.scores, cv=3).shape == (3,)


@pytest.mark.parametrize("is_routing_on", [False, True])
def test_search_slices_responses_fold_by_fold(data, encoder, is_routing_on):
    with sklearn.config_context(enable_metadata_routing=is_routing_on):
        router = quick(encoder, max_epochs=2)
        if is_routing_on:
            router.set_fit_request(responses=True, response_lengths=True)
        search = GridSearchCV(router, {"response_weight": [0.0, 1.0]}, cv=2, error_score="raise")
        search.fit(data.prompts, data.scores, responses=data.responses)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.classes_.shape == (data.scores.shape[1],)


@pytest.mark.parametrize("is_routing_on", [False, True])
def test_cross_val_score_slices_responses(data, encoder, is_routing_on):
    with sklearn.config_context(enable_metadata_routing=is_routing_on):
        router = quick(encoder, max_epochs=2)
        if is_routing_on:
            router.set_fit_request(responses=True)
        scores = cross_val_score(
            router,
            data.prompts,
            data.scores,
            cv=2,
            params={"responses": data.responses},
            error_score="raise",
        )
    assert np.isfinite(scores).all()


def routed_score(router, X, y):
    # scikit-learn 1.9.1 takes scoring=None for a default scorer, then fails on its float.
    return router.score(X, y)


def test_callbacks_see_one_task_per_epoch(data, encoder):
    monitor = ScoringMonitor(scoring={"score": routed_score})
    router = quick(encoder, max_epochs=3, early_stopping=False)
    router.set_callbacks(monitor).fit(data.prompts, data.scores, responses=data.responses)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in epochs] == [0, 1, 2]
    last = router.score(data.prompts, data.scores)
    assert epochs[-1]["score"] == pytest.approx(last)
    assert not hasattr(router, "_callback_fit_ctx")


def test_callbacks_work_inside_a_search(data, encoder, capsys):
    monitor = ScoringMonitor(scoring={"score": routed_score})
    router = quick(encoder, max_epochs=2, early_stopping=False).set_callbacks(monitor)
    search = GridSearchCV(router, {"response_weight": [0.0, 1.0]}, cv=2)
    search.set_callbacks(ProgressBar())
    search.fit(data.prompts, data.scores, responses=data.responses)
    log = monitor.get_logs().data
    assert sum(row["task_name"] == "epoch" for row in log) == (2 * 2 + 1) * 2


def test_verbose_shows_the_epochs(data, encoder, capsys):
    quick(encoder, verbose=1, max_epochs=2).fit(data.prompts, data.scores)
    assert "epoch" in capsys.readouterr().err


def test_html_representation_names_the_router(encoder):
    assert "LookaheadRouter" in LookaheadRouter(encoder="passthrough")._repr_html_()


def test_each_distinct_text_is_encoded_once(data):
    counted = []

    class Counting:
        max_seq_length = None

        def encode(self, texts, **options):
            counted.extend(texts)
            return np.random.RandomState(0).randn(len(texts), 8).astype(np.float32)

    prompts = list(data.prompts[:40]) * 2
    scores = np.vstack([data.scores[:40]] * 2)
    responses = np.vstack([data.responses[:40]] * 2)
    quick(Counting(), max_epochs=5).fit(prompts, scores, responses=responses)
    assert len(counted) == len(set(prompts)) + len(set(responses.ravel()))


def test_import_loads_neither_torch_nor_transformers():
    code = (
        "import sys, lookahead_sk\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from lookahead_sk import LookaheadRouter\n"
        "LookaheadRouter()\n"
        "assert 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.cuda
def test_a_router_fitted_on_cuda_loads_on_cpu(data, encoder, tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    router = quick(encoder, device="cuda").fit(data.prompts, data.scores)
    expected = router.predict_quality(data.prompts[:9])
    joblib.dump(router, tmp_path / "router.joblib")
    loaded = joblib.load(tmp_path / "router.joblib").set_params(device="cpu")
    assert_allclose(loaded.predict_quality(data.prompts[:9]), expected, atol=1e-3)


def test_tables_of_responses_follow_the_names_in_the_scores():
    data = make_routing(60, random_state=0, as_frame=True)
    backwards = list(data.scores.columns[::-1])
    options = {"max_epochs": 1, "encoder": "passthrough", "random_state": 0}
    X = np.random.RandomState(0).randn(60, 5)
    lengths = data.responses.map(len)
    seen = np.random.RandomState(1).randn(60, 6, 3)
    plain = LookaheadRouter(**options)
    plain.fit(X, data.scores, responses=seen, response_lengths=lengths)
    turned = LookaheadRouter(**options)
    turned.fit(X, data.scores, responses=seen, response_lengths=lengths[backwards])
    np.testing.assert_array_equal(plain.predict_quality(X), turned.predict_quality(X))
    numbered = data.responses.set_axis(range(6), axis=1)
    check = aligned
    assert check(numbered, data.scores, "responses") is numbered
    assert list(check(data.responses[backwards], data.scores, "responses")) != backwards
    with pytest.raises(ValueError, match="responses must be a table with the columns"):
        check(data.responses.add_prefix("m_"), data.scores, "responses")
