"""Estimates from logs against the truth: closed forms, brute force, refusals and the report."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from lookahead_sk.audit import audit_routing, estimate_propensities
from lookahead_sk.audit._estimators import (
    dr_values,
    effective_sample_size,
    estimate,
    importance_weights,
    ips_values,
    ratio_estimate,
    snips_values,
)
from lookahead_sk.datasets import load_routing
from lookahead_sk.inspection import RoutingAuditDisplay

MODELS = ["small", "medium", "large"]
PRICES = [1.0, 3.0, 10.0]


def world(n, seed):
    """Full scores (n, 3), what they depend on, and a logging rule that looks at it."""
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    chance = np.column_stack([1 - 0.7 * x, 0.8 - 0.2 * x, np.full(n, 0.85)])
    scores = (rng.random((n, 3)) < chance).astype(float)
    logging = np.column_stack([0.6 - 0.4 * x, np.full(n, 0.2), 0.2 + 0.4 * x])
    return x, chance, scores, logging


def draw(logging, rng):
    return (rng.random(len(logging))[:, None] > logging.cumsum(axis=1)).sum(axis=1)


def logged(scores, called):
    table = np.full(scores.shape, np.nan)
    rows = np.arange(len(scores))
    table[rows, called] = scores[rows, called]
    return table


def cheap_where_easy(x):
    return np.where(x < 0.4, 0, 2)


def a_log(n=2000, seed=0):
    x, chance, scores, logging = world(n, seed)
    called = draw(logging, np.random.default_rng(seed + 1))
    costs = np.where(np.isnan(logged(scores, called)), np.nan, [PRICES])
    return {
        "x": x,
        "full": scores,
        "quality": chance,
        "scores": logged(scores, called),
        "costs": costs,
        "propensities": logging,
    }


@pytest.mark.parametrize("estimator", ["ips", "snips", "dr", "dr with a wrong model"])
def test_estimates_over_many_logs_are_right_on_average(estimator):
    x, chance, scores, logging = world(500, 0)
    pi = np.eye(3)[cheap_where_easy(x)]
    truth = (pi * scores).sum(axis=1).mean()
    rng, found, errors = np.random.default_rng(1), [], []
    for _ in range(1500):
        a = draw(logging, rng)
        rows = np.arange(len(a))
        y, p = scores[rows, a], logging[rows, a]
        w = importance_weights(pi, a, p)
        q = chance if estimator == "dr" else 1 - chance
        psi = {
            "ips": lambda w=w, y=y: ips_values(w, y),
            "snips": lambda w=w, y=y: snips_values(w, y),
        }.get(estimator, lambda w=w, a=a, y=y, q=q: dr_values(pi, w, a, y, q))()
        found.append(psi.mean())
        errors.append(estimate(psi, 0.95).standard_error)
    bound = 4 * np.std(found) / np.sqrt(len(found))
    bias = 2e-3 if estimator == "snips" else 0.0  # of order 1 / n
    assert abs(np.mean(found) - truth) < bound + bias
    # The spread over logs of fixed prompts is below that over prompts too, which the error tells.
    assert np.std(found) < 1.05 * np.mean(errors)


def test_the_spread_over_fresh_logs_is_the_standard_error():
    found = {"ips": [], "snips": [], "dr": []}
    errors = {name: [] for name in found}
    for seed in range(400):
        x, chance, scores, logging = world(300, seed)
        a = draw(logging, np.random.default_rng(10_000 + seed))
        rows, pi = np.arange(len(a)), np.eye(3)[cheap_where_easy(x)]
        y, w = scores[rows, a], importance_weights(pi, a, logging[rows, a])
        values = {"ips": ips_values(w, y), "snips": snips_values(w, y)}
        values["dr"] = dr_values(pi, w, a, y, chance)
        for name, psi in values.items():
            found[name].append(psi.mean())
            errors[name].append(estimate(psi, 0.95).standard_error)
    for name in found:
        spread = np.std(found[name])
        # The error of a standard deviation of 400 draws is 1 / sqrt(800) of it.
        assert abs(np.mean(errors[name]) / spread - 1) < 4 / np.sqrt(800) + 0.02
    assert np.std(found["dr"]) < np.std(found["snips"]) < np.std(found["ips"])


def test_closed_forms():
    w, y = np.array([2.0, 0.0, 1.0]), np.array([1.0, 5.0, 0.5])
    assert effective_sample_size(w) == pytest.approx(9 / 5)
    assert effective_sample_size(np.ones(7)) == 7
    assert effective_sample_size(np.zeros(3)) == 0
    assert ips_values(w, y).mean() == pytest.approx(2.5 / 3)
    assert snips_values(w, y).mean() == pytest.approx(2.5 / 3)
    assert np.isnan(snips_values(np.zeros(3), y)).all()
    low, high = estimate(y, 0.9)[1:3]
    half = norm.ppf(0.95) * y.std(ddof=1) / np.sqrt(3)
    assert (high - low) / 2 == pytest.approx(half)


def test_dr_of_the_log_itself_is_its_mean_whatever_is_predicted():
    rng = np.random.default_rng(0)
    a, y = rng.integers(3, size=50), rng.random(50)
    psi = dr_values(np.eye(3)[a], np.ones(50), a, y, rng.random((50, 3)))
    np.testing.assert_allclose(psi, y)


def test_dr_with_perfect_predictions_has_no_noise_of_the_log():
    a = np.array([0, 1, 0, 1])
    q = np.array([[0.0, 1.0]] * 4)
    y = q[np.arange(4), a]
    pi = np.full((4, 2), 0.5)
    assert dr_values(pi, np.full(4, 7.0), a, y, q).tolist() == [0.5] * 4


def test_a_ratio_has_the_spread_of_its_draws():
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(2000):
        bottom = rng.gamma(4.0, size=200)
        top = 0.3 * bottom + rng.normal(size=200)
        draws.append(top.mean() / bottom.mean())
    told = ratio_estimate(top, bottom, 0.95).standard_error
    assert told == pytest.approx(np.std(draws), rel=0.2)
    assert np.isnan(ratio_estimate(np.ones(3), np.zeros(3), 0.95).value)


@pytest.mark.parametrize("quality", [True, False])
def test_an_audit_covers_the_truth(quality):
    log = a_log(4000)
    policy = cheap_where_easy(log["x"])
    audit = audit_routing(
        {"mine": policy},
        pd.DataFrame(log["scores"], columns=MODELS),
        costs=log["costs"],
        propensities=log["propensities"],
        quality=log["quality"] if quality else None,
        level=0.999,
    )
    assert audit.estimator == ("dr" if quality else "snips")
    mine = audit.policies["mine"]
    rows = np.arange(4000)
    truth = log["full"][rows, policy].mean()
    assert mine.quality.low < truth < mine.quality.high
    assert mine.cost.low < np.take(PRICES, policy).mean() < mine.cost.high
    assert mine.quality.value - audit.policies["traffic"].quality.value == pytest.approx(
        mine.quality_change.value
    )
    saved = 1 - mine.cost.value / audit.policies["traffic"].cost.value
    assert mine.saving.value == pytest.approx(saved)
    assert mine.shares["small"] == pytest.approx((policy == 0).mean())


def test_the_controls_are_the_traffic_single_models_and_a_mix_of_the_same_cost():
    log = a_log()
    audit = audit_routing(
        {"mine": cheap_where_easy(log["x"])},
        log["scores"],
        costs=log["costs"],
        propensities=log["propensities"],
        quality=log["quality"],
        models=MODELS,
    )
    assert list(audit.policies) == [
        *("mine", "traffic", "always small", "always medium", "always large", "mix for mine"),
    ]
    traffic = audit.policies["traffic"]
    assert traffic.quality.value == pytest.approx(np.nanmean(log["scores"]))
    assert traffic.effective_sample_size == 2000
    mix, mine = audit.policies["mix for mine"], audit.policies["mine"]
    assert mix.cost.value == pytest.approx(mine.cost.value, rel=1e-6)
    assert mix.quality.value < mine.quality.value
    assert [each.is_control for each in audit.policies.values()] == [False] + [True] * 5


def test_choices_probabilities_names_and_routers_mean_the_same():
    log = a_log(500)

    class Always:
        def predict(self, X):
            return np.full(len(X), "large", dtype=object)

    always = np.tile([0.0, 0.0, 1.0], (500, 1))
    audit = audit_routing(
        {
            "name": "large",
            "numbers": np.full(500, 2),
            "names": ["large"] * 500,
            "probabilities": always,
            "frame": pd.DataFrame(always[:, ::-1], columns=MODELS[::-1]),
            "router": Always(),
        },
        log["scores"],
        propensities=log["propensities"],
        X=log["x"][:, None],
        models=MODELS,
    )
    values = {each.quality for name, each in audit.policies.items() if not each.is_control}
    assert len(values) == 1
    assert np.isnan(audit.policies["name"].cost.value)


def test_groups_are_told_apart():
    log = a_log(3000)
    groups = np.where(log["x"] < 0.5, "easy", "hard")
    audit = audit_routing(
        {"small": 0}, log["scores"], propensities=log["propensities"], groups=groups
    )
    change = audit.policies["small"].by_group
    assert change["easy"].value > change["hard"].value
    assert "small in easy: change" in audit.to_text()


def test_calls_without_a_score_are_left_out_and_told():
    log = a_log(600)
    called = ~np.isnan(log["scores"])
    scores = log["scores"].copy()
    scores[:100] = np.nan
    audit = audit_routing({"large": 2}, scores, called=called, propensities=log["propensities"])
    assert audit.n == 500
    assert audit.notes == ["100 calls without a score are left out."]


# ------------------------------------------------------------------ overlap


def refusal(policy, scores, **options):
    options.setdefault("propensities", np.full(len(scores), 0.5))
    each = audit_routing({"mine": policy}, scores, **options).policies["mine"]
    assert np.isnan([*each.quality, *each.cost, *each.saving]).all()
    return each.reason


def two_models(n=400):
    scores = np.full((n, 3), np.nan)
    scores[np.arange(n), np.arange(n) % 2] = 0.5
    return scores


def test_a_model_never_called_is_refused():
    reason = refusal(2, two_models(), models=MODELS)
    assert reason == "it sends 100.0% of prompts to ['large'], never called in the log"


def test_a_rule_without_chance_is_refused():
    scores = two_models()
    opposite = 1 - np.arange(400) % 2
    reason = refusal(opposite, scores, propensities=np.ones(400))
    assert reason == "the log covers only 0.0% of its calls: its other calls were never made"
    every = np.tile([1.0, 0.0, 0.0], (400, 1))
    every[1::2] = [0.0, 1.0, 0.0]
    assert "with a probability below 0.01" in refusal(opposite, scores, propensities=every)


def test_propensities_that_are_too_small_are_refused():
    assert "importance weights have mean" in refusal(
        0, two_models(), propensities=np.full(400, 0.1)
    )


def test_too_few_rows_of_weight_are_refused():
    reason = refusal(np.full((40, 3), [0.5, 0.5, 0.0]), two_models(40))
    assert reason == (
        "the log says as much about it as 40 prompts of its own would, out of 40; "
        "at least 50 are needed"
    )


def test_refusals_stand_in_the_report():
    audit = audit_routing({"mine": 2}, two_models(), propensities=np.full(400, 0.5), models=MODELS)
    assert "mine is refused: it sends 100.0% of prompts to ['large']" in audit.to_text()
    assert "always large is refused" in audit.to_html()


# ------------------------------------------------------------------ propensities


def test_propensities_are_estimated_where_they_were_not_logged():
    log = a_log(4000)
    called = ~np.isnan(log["scores"])
    found = estimate_propensities(log["x"][:, None], called)
    assert np.abs(found - log["propensities"]).max() < 0.1
    audit = audit_routing(
        {"mine": cheap_where_easy(log["x"])}, log["scores"], X=log["x"][:, None], level=0.999
    )
    mine = audit.policies["mine"]
    truth = log["full"][np.arange(4000), cheap_where_easy(log["x"])].mean()
    assert mine.quality.low < truth < mine.quality.high
    assert audit.notes[0].startswith("Propensities were estimated")


def test_propensities_are_estimated_from_texts():
    rng = np.random.default_rng(0)
    is_code = rng.random(600) < 0.5
    prompts = [
        f"{'write code' if code else 'tell a story'} number {i}" for i, code in enumerate(is_code)
    ]
    goes = rng.random(600) < np.where(is_code, 0.9, 0.2)
    found = estimate_propensities(prompts, np.column_stack([goes, ~goes]))
    assert abs(found[is_code, 0].mean() - 0.9) < 0.05
    assert abs(found[~is_code, 0].mean() - 0.2) < 0.05


def test_a_model_that_is_called_twice_has_no_estimated_propensity():
    called = np.eye(3, dtype=bool)[[0, 1] * 50 + [2, 2]]
    found = estimate_propensities(np.zeros((102, 1)), called)
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found[:100].sum(axis=1), 1.0)


# ------------------------------------------------------------------ report, picture, errors


def an_audit(**options):
    log = a_log(1000)
    options = {"costs": log["costs"], "models": MODELS, **options}
    policies = {"<mine>": cheap_where_easy(log["x"])}
    return audit_routing(policies, log["scores"], propensities=log["propensities"], **options)


def test_the_report_is_read_as_text_and_html():
    audit = an_audit()
    text = str(audit)
    assert text.startswith("Audit of 1,000 logged calls of 3 models (self-normalised IPS, 95%")
    assert "<mine>" in text
    html = audit._repr_html_()
    assert "&lt;mine&gt;" in html
    assert html.count("<tr>") == 1 + len(audit.policies)
    assert "<script" not in html


def test_the_picture_has_a_point_with_intervals_for_every_policy():
    pytest.importorskip("matplotlib").use("agg")
    audit = an_audit()
    display = RoutingAuditDisplay.from_audit(audit)
    assert len(display.containers_) == len(audit.policies)
    x, y = display.containers_[0].lines[0].get_data()
    assert (x[0], y[0]) == (audit.policies["<mine>"].cost[0], audit.policies["<mine>"].quality[0])
    with pytest.raises(ValueError, match="audit must be made with costs"):
        RoutingAuditDisplay.from_audit(an_audit(costs=None))
    with pytest.raises(TypeError, match="audit must be a RoutingAudit"):
        RoutingAuditDisplay.from_audit(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.ones((10, 2))}, "the score of one called model in each row"),
        ({"scores": np.full((10, 2), np.nan)}, "scores must be observed in some row"),
        ({"propensities": None}, "propensities must be logged; got None"),
        ({"propensities": np.zeros(10)}, r"propensities must be in \(0, 1\] .*got 0.0"),
        ({"propensities": np.ones(9)}, r"propensities must be of shape \(10, 2\) or \(10,\)"),
        ({"costs": np.full((10, 2), np.nan)}, "costs must be known and not negative"),
        ({"costs": np.ones((9, 2))}, r"costs must be of shape \(10, 2\) or \(2,\)"),
        ({"quality": np.full((10, 2), np.nan)}, r"quality must be of shape \(10, 2\) without NaN"),
        ({"policies": {"p": np.ones(9)}}, "must be one model for each of the 10 prompts"),
        ({"policies": {"p": np.ones((10, 2))}}, "probabilities .* whose rows sum to 1"),
        ({"policies": {}}, "policies must be a mapping of name to router"),
        ({"policies": {"p": "none"}}, r"policies\['p'\] must be"),
        ({"estimator": "dr"}, "quality must be given with estimator='dr'"),
        ({"estimator": "dm"}, "estimator must be one of"),
        ({"level": 1.0}, "level must be a float in"),
        ({"called": np.zeros((10, 2), dtype=bool)}, "the score of one called model in each row"),
        ({"propensities": None, "X": np.ones((9, 1))}, "X must be of 10 rows"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, message):
    scores = np.where(np.arange(10)[:, None] % 2 == [0, 1], 0.5, np.nan)
    options = {"policies": {"p": 0}, "scores": scores, "propensities": np.full(10, 0.5)}
    options |= change
    with pytest.raises((TypeError, ValueError), match=message):
        audit_routing(options.pop("policies"), options.pop("scores"), **options)


def test_a_loaded_log_is_audited_as_it_is():
    log = a_log(800)
    called = (~np.isnan(log["scores"])).argmax(axis=1)
    rows = [
        {
            "prompt": f"prompt {i % 300}",
            "model": MODELS[k],
            "score": None if i < 50 else log["scores"][i, k],
            "cost": PRICES[k],
            "propensity": log["propensities"][i, k],
        }
        for i, k in enumerate(called)
    ]
    data = load_routing(rows, models=MODELS, duplicates="keep")
    options = {"propensities": data.propensities, "called": data.called, "models": data.models}
    policies = {"mine": cheap_where_easy(log["x"])}
    audit = audit_routing(policies, data.scores, costs=data.costs, **options)
    assert audit.n == 750
    same = audit_routing(
        {"mine": policies["mine"][50:]},
        log["scores"][50:],
        costs=log["costs"][50:],
        propensities=log["propensities"][50:],
        models=MODELS,
    )
    assert audit.policies["mine"].quality == same.policies["mine"].quality
    assert audit.policies["mine"].saving == same.policies["mine"].saving
