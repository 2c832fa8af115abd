"""scikit-learn's own estimator checks."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from lookahead_sk import LookaheadRouter


@parametrize_with_checks([LookaheadRouter(encoder="passthrough", max_epochs=20)])
def test_estimator_passes_scikit_learns_checks(estimator, check):
    check(estimator)
