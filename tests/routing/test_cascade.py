"""Cascades: chains by hand, thresholds by brute force, the certificate in simulations, the API."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.utils.estimator_checks import parametrize_with_checks

from lookahead_sk import LookaheadRouter
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.datasets import make_routing
from lookahead_sk.routing import CascadeRouter
from lookahead_sk.routing._costs._certificate import certify_last
from lookahead_sk.routing._costs._chain import (
    fixed_thresholds,
    follow,
    step,
    threshold_for_budget,
)

ROUTER = LookaheadRouter(encoder="passthrough", max_epochs=2, random_state=0)


@parametrize_with_checks([CascadeRouter(ROUTER)])
def test_a_cascade_passes_scikit_learns_checks(estimator, check):
    check(estimator)


def test_a_step_by_hand():
    quality = np.array([[0.5, 0.7, 0.6], [0.2, 0.1, 0.3]])
    costs = np.array([[0.0, 0.15, 0.1], [0.0, 0.0, 0.05]])
    called = np.array([[True, False, False], [True, True, False]])
    found = step(quality, costs, called)
    assert_array_equal(found.kept, [0, 0])
    assert_array_equal(found.following, [1, 2])
    assert found.gain == pytest.approx([0.05, 0.05])


def random_chain(seed=0, n=40, n_models=4, max_calls=3):
    """Answers change the quality of the model that gave them."""
    rng = np.random.default_rng(seed)
    before, after = rng.random((2, n, n_models))
    costs = rng.uniform(1, 3, (n, n_models))

    def judge(called):
        return np.where(called, after, before)

    return follow(before.argmax(axis=1), judge, costs, 0.02, max_calls), before, after, costs


def test_chains_are_those_of_a_plain_loop():
    chain, before, after, costs = random_chain()
    for threshold in (-0.4, -0.05, 0.0, 0.1, 2.0):
        for i in range(40):
            called = [int(before[i].argmax())]
            while len(called) < 3:
                best = max(after[i, k] for k in called)
                others = [k for k in range(4) if k not in called]
                k = max(others, key=lambda k: before[i, k] - 0.02 * costs[i, k])
                if before[i, k] - 0.02 * costs[i, k] - best <= threshold:
                    break
                called.append(k)
            assert chain.n_calls(threshold)[i] == len(called)
            assert chain.chosen(threshold)[i] == max(called, key=lambda k: after[i, k])
            assert chain.costs[i, len(called) - 1] == pytest.approx(costs[i, called].sum())


def test_the_threshold_of_a_budget_is_the_smallest_that_meets_it():
    chain, *_ = random_chain()
    for budget in (2.6, 3.5, 5.0, 100.0):
        found = threshold_for_budget(chain, budget)
        tried = np.unique(np.append(chain.gains[:, :-1], -10.0))
        fitting = [t for t in tried if chain.mean_cost(t) <= budget]
        assert chain.mean_cost(found) == chain.mean_cost(min(fitting))
    assert threshold_for_budget(chain, chain.costs[:, 0].mean() - 0.01) is None


def test_the_whole_chain_is_certified():
    """Of 150 studies, at most a share alpha certifies a threshold whose true loss is larger."""
    rng = np.random.default_rng(1)
    thresholds = fixed_thresholds((0, 1))

    def study(n):
        p = np.clip(0.55 + 0.25 * rng.standard_normal((n, 3)), 0, 1)
        p[:, 0] = np.clip(p[:, 0] + 0.1, 0, 1)
        scores = (rng.random((n, 3)) < p).astype(float)
        before = p + 0.2 * rng.standard_normal((n, 3))
        after = 0.6 * scores + 0.4 * p + 0.1 * rng.standard_normal((n, 3))
        chain = follow(
            before.argmax(axis=1), lambda called: np.where(called, after, before), np.ones((n, 3)),
            0.0, 2,
        )  # fmt: skip
        rows = np.arange(n)
        kept = np.stack([scores[rows, chain.chosen(t)] for t in thresholds], axis=1)
        return scores[:, :1] - kept

    true_loss = study(100_000).mean(axis=0)
    limit = float(np.quantile(np.maximum(true_loss, 0), 0.8))
    failed = certified = 0
    for _ in range(150):
        found = certify_last(study(600), thresholds, max(limit, 0.01), 0.1, (0, 1))
        if found.setting is not None:
            certified += 1
            failed += true_loss[np.flatnonzero(found.setting == thresholds)[0]] > max(limit, 0.01)
    assert certified > 100
    assert failed <= 150 * 0.1 + 3 * np.sqrt(150 * 0.09)


@pytest.fixture(scope="module")
def fitted(encoder):
    """Careful: do not fit it again."""
    names = ["generalist-xl", "calculator-s", "wordsmith-m"]
    data = make_routing(550, models=names, random_state=0, as_frame=True)
    router = LookaheadRouter(encoder, lexical_features=32, random_state=0)
    cascade = CascadeRouter(router, threshold=-0.05)
    cascade.fit(data.prompts[:300], data.scores[:300], responses=data.responses[:300])
    return cascade, data


def test_a_second_look_pays_and_a_budget_limits_the_calls(fitted):
    cascade, data = fitted
    new, scores, answers = data.prompts[300:], data.scores[300:], data.responses[300:]
    first = cascade.score(new, scores)
    assert first == pytest.approx(cascade.router_.score(new, scores))
    kept = cascade.threshold
    cascade.tune_threshold(new, responses=answers, budget=1.4)
    assert cascade.score(new, scores, responses=answers) > first
    calls = cascade._chain(new, answers, None).n_calls(cascade.threshold)
    assert 1.3 < calls.mean() <= 1.4
    cascade.threshold = kept


def test_running_it_is_what_was_replayed(fitted):
    cascade, data = fitted
    new, answers = data.prompts[300:360], data.responses[300:360]
    table = dict(zip(new, answers.to_dict("records"), strict=True))
    asked = []

    def call(model, prompts):
        asked.extend((model, prompt) for prompt in prompts)
        return [table[prompt][model] for prompt in prompts]

    result = cascade.run(new, call)
    chain = cascade._chain(new, answers, None)
    assert_array_equal(result.models, cascade.classes_[chain.chosen(cascade.threshold)])
    assert_array_equal(result.n_calls, chain.n_calls(cascade.threshold))
    assert len(asked) == len(set(asked)) == result.n_calls.sum() == result.called.sum()
    for prompt, model, text in zip(new, result.models, result.responses, strict=True):
        assert text == table[prompt][model]
    assert 1 < result.n_calls.mean() < 2


def test_a_certificate_or_a_reason(fitted):
    cascade, data = fitted
    new, scores, answers = data.prompts[300:], data.scores[300:], data.responses[300:]
    before = cascade.threshold
    worst = data.models[int(np.argmin(scores.mean()))]
    cascade.tune_threshold(new, scores, answers, reference=worst, max_loss=0.05)
    assert cascade.threshold == fixed_thresholds((0, 1))[-1]
    cascade.threshold = before
    hopeless = scores.copy()
    hopeless[worst] = 1.0
    hopeless[[name for name in data.models if name != worst]] = 0.0
    with pytest.raises(ValueError, match="No threshold could be certified"):
        cascade.tune_threshold(new, hopeless, answers, reference=worst, max_loss=0.05)
    with pytest.raises(ValueError, match="either budget or max_loss"):
        cascade.tune_threshold(new, scores, answers)
    with pytest.raises(ValueError, match="budget must be at least 1"):
        cascade.tune_threshold(new, responses=answers, budget=0.5)
    with pytest.raises(ValueError, match="responses must be recorded for every prompt"):
        cascade.tune_threshold(new, responses={worst: answers[worst]}, budget=2.0)
    assert cascade.threshold == before


def test_a_saved_cascade_does_the_same(fitted, tmp_path):
    cascade, data = fitted
    cascade.save_pretrained(tmp_path / "cascade")
    cascade.save_pretrained(tmp_path / "cascade")
    loaded = CascadeRouter.from_pretrained(tmp_path / "cascade")
    new, answers = data.prompts[300:330], data.responses[300:330]
    name = cascade.classes_[1]
    one = {name: answers[name]}
    assert_array_equal(loaded.next_call(new, one), cascade.next_call(new, one))
    assert_array_equal(loaded.best_answer(new, answers), cascade.best_answer(new, answers))
    assert loaded.threshold == cascade.threshold
    path = tmp_path / "cascade" / "cascade.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "threshold": 7.0}))
    with pytest.raises(ValueError, match=r"cascade\.json is missing or damaged"):
        CascadeRouter.from_pretrained(tmp_path / "cascade")
    with pytest.raises(ValueError, match="folder must be new, empty, or written"):
        cascade.save_pretrained(tmp_path)


def test_wrong_parameters_are_refused(fitted):
    cascade, data = fitted
    with pytest.raises(TypeError, match="router must be a LookaheadRouter or None"):
        CascadeRouter(KNNRouter()).fit(["a", "b"], [[0, 1], [1, 0]])
    with pytest.raises(ValueError, match=r"max_calls must be an int in \[1"):
        CascadeRouter(max_calls=0).fit(["a", "b"], [[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="call must be a function that returns 2 texts"):
        cascade.run([data.prompts[0]] * 2, lambda model, prompts: ["one"])
    with pytest.raises(ValueError, match="responses must be given by some model for every prompt"):
        cascade.best_answer(["a", "b"], {cascade.classes_[0]: ["x", None]})
