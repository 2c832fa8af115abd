"""A frozen encoder beside a fine-tuned backbone."""

import json

import numpy as np
import pytest
from _tiny_models import learnable, tiny
from numpy.testing import assert_allclose, assert_array_equal

from lookahead_sk import CausalLookaheadRouter, MaskedLookaheadRouter
from lookahead_sk.routing import _stacking
from lookahead_sk.routing._language_model import _fitting
from lookahead_sk.routing._predictor import capped
from lookahead_sk.routing._stacked import StackedNetwork
from lookahead_sk.routing._stacking import choose_share

QUICK = {"response_tokens": 3, "max_epochs": 2, "batch_size": 16, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    return learnable(100)


def fit(data, encoder, cls=MaskedLookaheadRouter, **changes):
    backbone = tiny("bert" if cls is MaskedLookaheadRouter else "llama")
    prompts, scores, responses = data
    made = cls(backbone, encoder=encoder, **{**QUICK, **changes})
    return made.fit(prompts, scores, responses=responses)


@pytest.fixture(scope="module")
def fitted(data, encoder):
    """Careful: do not fit it again."""
    return fit(data, encoder)


@pytest.mark.parametrize("cls", [MaskedLookaheadRouter, CausalLookaheadRouter])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])
def test_the_quality_is_the_weighted_mean_of_what_it_is_made_of(
    data, encoder, cls, share, blend, monkeypatch
):
    choose = _fitting.choose_beside_network

    def choosing(*given, may_blend):
        assert not may_blend
        average, _, quality = choose(*given, may_blend=may_blend)
        return average, blend, quality

    monkeypatch.setattr(_fitting, "choose_beside_network", choosing)
    monkeypatch.setattr(_stacking, "choose_share", lambda *_: share)
    made = fit(data, encoder, cls, max_epochs=1)
    predictor, new = made.predictor_, learnable(9, seed=5)[0]
    stacked = predictor.network
    assert isinstance(stacked, StackedNetwork)
    own = stacked.language.read(new, made._options().language())
    beside = stacked.frozen.network.read(new, made._options().frozen())
    frozen = stacked.frozen.fitted_quality(beside)
    average = predictor.local_average.predict(own.space)
    expected = share * ((1 - blend) * average + blend * own.quality) + (1 - share) * frozen
    assert_allclose(made.predict_quality(new), capped(expected, predictor.best_single), rtol=1e-9)


def test_a_network_that_learnt_nothing_leaves_the_choice_to_the_frozen_encoder(data, encoder):
    made = fit(data, encoder, max_epochs=1, learning_rate=1e-9)
    prompts, scores, _ = learnable(200, seed=3)
    frozen = made.predictor_.network.frozen
    alone = frozen.predict(prompts, made._options().frozen()).quality
    assert made.score(prompts, scores) >= scores[np.arange(200), alone.argmax(axis=1)].mean() - 0.02


def test_a_better_network_is_listened_to_and_a_worse_one_is_not():
    rng = np.random.default_rng(0)
    truth = rng.random((400, 3))
    scores = (rng.random((400, 3)) < truth).astype(float)
    noise = 0.3 * rng.standard_normal((400, 3))
    level = np.full((400, 3), 0.5)
    assert choose_share(level, truth, scores) == 1
    assert choose_share(truth, truth + noise, scores) == 0
    assert choose_share(truth, level, scores) == 0
    # Two that err independently: the errors of their mean are smaller than those of either.
    first, second = (truth + 0.2 * rng.standard_normal((400, 3)) for _ in range(2))
    assert 0 < choose_share(first, second, scores) < 1


def test_the_share_is_the_one_of_the_least_error(data):
    rng = np.random.default_rng(1)
    scores = rng.random((300, 4))
    scores[rng.random(scores.shape) < 0.1] = np.nan
    scores[:, 0] = rng.random(300)
    frozen, own = (np.nan_to_num(scores, nan=0.5) + rng.normal(0, s, (300, 4)) for s in (0.5, 0.4))

    def error(share):  # pair by pair, not by centring
        total, mixed = 0.0, (1 - share) * frozen + share * own
        for row, true in zip(mixed, scores, strict=True):
            seen = np.flatnonzero(~np.isnan(true))
            differences = row[seen, None] - row[seen] - (true[seen, None] - true[seen])
            total += (differences**2).sum() / (2 * len(seen))
        return total / len(scores)

    assert choose_share(frozen, own, scores) == min([0, 0.25, 0.5, 0.75, 1], key=error)


def test_too_few_prompts_prove_nothing():
    assert choose_share(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])) == 0


def test_lengths_and_answers_are_known_to_the_frozen_encoder(data, encoder, fitted):
    prompts, _, responses = data
    assert all(row[k]["length"] > 0 for row in fitted.foresee(prompts[:3]) for k in (0, 1))
    before = fitted.predict_quality(prompts[:5])
    after = fitted.predict_quality(prompts[:5], responses=responses[:5])
    assert after.shape == before.shape
    assert np.isfinite(after).all()
    with pytest.raises(ValueError, match="judged by a LookaheadRouter"):
        fit(data, "drop").predict_quality(prompts[:5], responses=responses[:5])


def test_without_the_response_loss_the_frozen_encoder_has_none_either(data, encoder):
    made = fit(data, encoder, response_weight=0.0)
    assert made.predictor_.network.frozen.network.descriptors is None
    assert made.foresee(data[0][:1])[0][0]["length"] is None


def test_feedback_and_new_models_go_on_from_the_stack(data, encoder, tmp_path):
    prompts, scores, responses = data
    made = fit(data, encoder)
    made.partial_fit(prompts[:20], scores[:20])
    made.add_model("late", prompts[:30], np.ones(30), responses=responses[:30, 0])
    made.save_pretrained(tmp_path / "router")
    loaded = MaskedLookaheadRouter.from_pretrained(tmp_path / "router")
    assert_array_equal(loaded.predict_quality(prompts), made.predict_quality(prompts))
    assert "beside" in (tmp_path / "router" / "README.md").read_text()


def test_a_share_that_no_fit_leaves_is_refused(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "router")
    path = tmp_path / "router" / "router.json"
    text = path.read_text()
    share = json.dumps(fitted.predictor_.network.share)
    assert f'"share": {share}' in text
    content = json.loads(text.replace(f'"share": {share}', '"share": 7'))
    del content["checksum"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="missing or damaged"):
        MaskedLookaheadRouter.from_pretrained(tmp_path / "router")


@pytest.mark.parametrize("encoder", ["passthrough", 3, ""])
def test_wrong_encoders_are_refused_before_anything_is_trained(data, encoder):
    made = MaskedLookaheadRouter("no such backbone", encoder=encoder)
    with pytest.raises((TypeError, ValueError), match="encoder"):
        made.fit(data[0], data[1])
