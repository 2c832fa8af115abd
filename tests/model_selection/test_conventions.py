"""scikit-learn's own conventions: nesting, metadata routing, tables, sparse input, callbacks."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_matrix
from scipy.stats import loguniform
from sklearn.callback import ProgressBar
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks

from lookahead_sk import ConstrainedSearchCV


@parametrize_with_checks(
    [
        ConstrainedSearchCV(
            Ridge(),
            {"alpha": [0.1, 0.3, 1.0, 3.0, 10.0]},  # its repr names the tests: no addresses
            constraints={"mean_fit_time": (None, 60.0)},
            error_score="raise",
            n_iter=2,
            n_initial=1,
            cv=2,
            random_state=0,
        )
    ],
    expected_failed_checks=lambda _: {
        "check_supervised_y_2d": "no warning is due; RandomizedSearchCV(Ridge()) fails it too"
    },
)
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def test_it_nests_in_cross_val_score(make_search, cancer):
    scores = cross_val_score(make_search(n_iter=6), *cancer, cv=2)
    assert scores.min() > 0.85


def test_pandas_columns_are_remembered(make_search, cancer):
    X = pd.DataFrame(cancer[0]).add_prefix("f")
    search = make_search(n_iter=6).fit(X, pd.Series(cancer[1]))
    assert list(search.feature_names_in_) == list(X)
    assert search.n_features_in_ == X.shape[1]
    assert list(search.classes_) == [0, 1]
    assert pd.DataFrame(search.cv_results_).sort_values("violation")["is_feasible"].iloc[0]


def test_sparse_input(make_search, cancer):
    model = make_pipeline(
        MaxAbsScaler(), LogisticRegression(l1_ratio=1, solver="liblinear", random_state=0)
    )
    search = make_search(model, n_iter=6).fit(csr_matrix(cancer[0]), cancer[1])
    assert search.predict(csr_matrix(cancer[0])).shape == cancer[1].shape


def test_groups_reach_the_splitter(make_search, cancer):
    groups = np.repeat(np.arange(20), 10)
    search = make_search(cv=GroupKFold(4), n_iter=6).fit(*cancer, groups=groups)
    assert search.n_splits_ == 4
    with pytest.raises(ValueError, match="groups"):
        make_search(cv=GroupKFold(4), n_iter=6).fit(*cancer)


def test_metadata_is_routed_to_fit_scorers_and_splitter(cancer):
    X, y = cancer
    seen = []

    class Weighted(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight)
            return super().fit(X / 1000, y, sample_weight)

    def weighted_accuracy(y, predicted, sample_weight=None):
        seen.append(sample_weight)
        return accuracy_score(y, predicted, sample_weight=sample_weight)

    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(weighted_accuracy).set_score_request(sample_weight=True)
        search = ConstrainedSearchCV(
            Weighted().set_fit_request(sample_weight=True),
            {"C": loguniform(0.01, 100)},
            objective=scorer,
            constraints={"mean_score_time": (None, 60.0)},
            n_iter=2,
            n_initial=1,
            cv=GroupKFold(2),
            random_state=0,
        )
        weight = np.linspace(1, 2, len(y))
        search.fit(X, y, sample_weight=weight, groups=np.arange(len(y)) % 5)
        assert len(seen) == 2 * 2 * 2 + 1  # fits and scores of two folds, and the refit
        assert all(w is not None for w in seen)
        expected = accuracy_score(y, search.predict(X), sample_weight=weight)
        assert search.score(X, y, sample_weight=weight) == expected


def test_weights_reach_the_scorers_without_routing(make_search, cancer):
    X, y = cancer
    search = ConstrainedSearchCV(
        LogisticRegression(solver="liblinear"),
        {"C": loguniform(0.01, 100)},
        scoring=["accuracy", "recall"],
        objective="accuracy",
        constraints={"recall": (None, 0.01)},
        n_iter=2,
        n_initial=1,
        cv=2,
        random_state=0,
    )
    search.fit(X, y, sample_weight=np.where(y == 1, 1e-9, 1.0))
    assert search.predict(X).mean() < 0.01  # class 1 weighs nothing
    assert search.best_score_ > 0.99


def test_a_function_that_computes_several_metrics(make_search, cancer):
    def both(model, X, y):
        return {"hits": model.score(X, y), "used": float(np.count_nonzero(model[-1].coef_))}

    search = make_search(scoring=both, objective="hits", constraints={"used": (None, 6)})
    search.fit(*cancer)
    assert search.cv_results_["mean_test_used"][search.best_index_] <= 6
    assert search.score(*cancer) == search.best_estimator_.score(*cancer)
    search = make_search(scoring=both, objective="misses", constraints=None)
    with pytest.raises(ValueError, match="objective must be a metric that is computed"):
        search.fit(*cancer)


def test_a_function_that_computes_one_metric(make_search, cancer):
    def hits(model, X, y):
        return model.score(X, y)

    limits = {"mean_test_score": (0.5, None)}
    search = make_search(
        scoring=hits, objective=None, constraints=limits, n_iter=3, n_initial=1
    ).fit(*cancer)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


def test_verbose_shows_a_bar_and_no_lines(make_search, cancer, capsys):
    make_search(n_iter=3, n_initial=1, verbose=1).fit(*cancer)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "feasible" in err
    make_search(n_iter=3, n_initial=1, verbose=2).fit(*cancer)
    assert "Fitting 3 folds" in capsys.readouterr().out


def test_callbacks_see_every_batch_and_can_stop_the_search(make_search, cancer):
    class StopAfter:
        def __init__(self, n):
            self.n, self.tasks = n, []

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.tasks.append(context.task_name)
            return context.task_name == "batch" and self.tasks.count("batch") == self.n

    callback = StopAfter(3)
    search = make_search(constraints=None, batch_size=2).set_callbacks(callback).fit(*cancer)
    assert callback.tasks.count("batch") == 3
    assert callback.tasks.count("candidate-split-evaluation") == 3 * 2 * 3
    assert len(search.cv_results_["params"]) == 6


def test_scikit_learns_progress_bar_runs(make_search, cancer):
    pytest.importorskip("rich")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_search(constraints=None, n_iter=2, n_initial=1).set_callbacks(ProgressBar()).fit(
            *cancer
        )


def test_it_has_an_html_picture(make_search):
    assert "LogisticRegression" in estimator_html_repr(make_search())
