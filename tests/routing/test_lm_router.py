"""The fine-tuned routers with a tiny backbone, as a scikit-learn user meets them."""

import pickle
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from _tiny_models import learnable, tiny
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from lookahead_sk import CausalLookaheadRouter, MaskedLookaheadRouter

BACKBONES = {"masked": "bert", "causal": "llama"}
ROUTERS = {"masked": MaskedLookaheadRouter, "causal": CausalLookaheadRouter}
QUICK = {
    "encoder": "drop",
    "response_tokens": 3,
    "max_epochs": 14,
    "batch_size": 8,
    "learning_rate": 1.5e-3,
    "random_state": 0,
}
each_approach = pytest.mark.parametrize("approach", list(BACKBONES))


def router(approach="masked", **changes):
    backbone = tiny(BACKBONES[approach])
    return ROUTERS[approach](backbone, **{**QUICK, **changes})


@pytest.fixture(scope="module")
def data():
    return learnable(128)


@pytest.fixture(scope="module")
def fitted(data):
    """Careful: do not fit them again, other tests use them."""
    prompts, scores, responses = data
    names = pd.DataFrame(scores, columns=["small", "large"])
    return {
        approach: router(approach, response_weight=1.0, descriptor_weight=0.2, batch_size=4).fit(
            prompts, names, responses=responses
        )
        for approach in BACKBONES
    }


@each_approach
def test_what_can_be_learnt_is_learnt(fitted, approach):
    prompts, scores, _ = learnable(120, seed=7)
    assert scores.mean(axis=0).max() < 0.65
    assert fitted[approach].score(prompts, scores) > 0.95


@pytest.mark.parametrize("backbone", ["modernbert", "gpt2"])
def test_modernbert_and_gpt2_learn_it_too(backbone, data):
    prompts, scores, responses = data
    approach = "masked" if backbone == "modernbert" else "causal"
    options = {**QUICK, "backbone": tiny(backbone)}
    made = ROUTERS[approach](**options).fit(prompts, scores, responses=responses)
    new_prompts, new_scores, _ = learnable(120, seed=7)
    assert made.score(new_prompts, new_scores) > 0.95


def test_the_head_of_the_paper_learns_it_too(data):
    prompts, scores, responses = data
    made = router(head="cls", learning_rate=1e-3).fit(prompts, scores, responses=responses)
    new_prompts, new_scores, _ = learnable(120, seed=7)
    assert made.score(new_prompts, new_scores) > 0.95


@each_approach
def test_predictions_have_the_shapes_and_names_of_the_score_table(fitted, data, approach):
    made, prompts = fitted[approach], data[0][:7]
    assert made.classes_.tolist() == ["small", "large"]
    quality = made.predict_quality(prompts)
    assert quality.shape == (7, 2)
    assert ((quality >= 0) & (quality <= 1)).all()
    assert_array_equal(made.predict(prompts), made.classes_[quality.argmax(axis=1)])
    assert_allclose(made.predict_proba(prompts).sum(axis=1), 1)
    assert made.transform(prompts).shape == (7, 2 * 32)
    assert len(made.get_feature_names_out()) == 64


@each_approach
def test_foresee_tells_what_the_backbone_expects(fitted, approach):
    prompts, _, responses = learnable(8, seed=3)
    seen = fitted[approach].foresee(prompts)
    n_right = 0
    for i, row in enumerate(seen):
        for k, name in enumerate(["small", "large"]):
            n_right += row[name]["response"].split()[:1] == responses[i, k].split()[:1]
            assert row[name]["row"] is None
            assert row[name]["length"] > 0
    assert n_right >= 14  # of 16; a router that did not look at the prompt would get 8
    assert fitted[approach].foresee(prompts[:1])[0] == seen[0]


@each_approach
@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_a_stored_router_predicts_the_same(fitted, data, approach, how, tmp_path):
    made, prompts = fitted[approach], data[0][:9]
    expected = made.predict_quality(prompts)
    if how == "pickle":
        loaded = pickle.loads(pickle.dumps(made))
    else:
        joblib.dump(made, tmp_path / "router.joblib")
        loaded = joblib.load(tmp_path / "router.joblib")
    assert_allclose(loaded.predict_quality(prompts), expected, atol=1e-6)


@each_approach
def test_a_clone_is_unfitted_and_learns_the_same(data, approach):
    made = router(approach, max_epochs=1).fit(data[0], data[1], responses=data[2])
    copy = clone(made)
    with pytest.raises(NotFittedError):
        copy.predict(data[0])
    copy.fit(data[0], data[1], responses=data[2])
    assert_array_equal(copy.predict_quality(data[0][:9]), made.predict_quality(data[0][:9]))


def test_the_fitted_state_holds_no_torch_tensor(fitted):
    for made in fitted.values():
        state = made.predictor_.network.state.__getstate__()
        assert state["_built"] is None
        assert all(isinstance(weight, np.ndarray) for weight in state["weights"].values())


@each_approach
def test_the_backbone_that_was_given_is_left_alone(approach, data):
    made = router(approach, max_epochs=1)
    model = made.backbone[0]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    made.fit(data[0], data[1], responses=data[2])
    assert made.backbone[0] is model
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_response_weight_0_and_no_responses_make_the_same_query_only_router(data):
    prompts, scores, responses = data
    off = router(response_weight=0.0, max_epochs=1).fit(prompts, scores, responses=responses)
    without = router(max_epochs=1).fit(prompts, scores)
    assert_allclose(off.predict_quality(prompts[:9]), without.predict_quality(prompts[:9]))
    on = router(max_epochs=1).fit(prompts, scores, responses=responses)
    assert np.abs(on.predict_quality(prompts[:9]) - off.predict_quality(prompts[:9])).max() > 1e-4


def test_scores_and_responses_that_were_not_observed_are_left_out(data):
    prompts, scores, responses = data[0], data[1].copy(), data[2].copy()
    rng = np.random.RandomState(0)
    hidden = rng.rand(*scores.shape) < 0.4
    hidden[np.arange(len(scores)), rng.randint(2, size=len(scores))] = False
    scores[hidden], responses[hidden] = np.nan, None
    made = router(max_epochs=2).fit(prompts, scores, responses=responses)
    assert np.isfinite(made.predict_quality(prompts)).all()


def test_a_fit_that_was_killed_goes_on(data, tmp_path, monkeypatch):
    prompts, scores, responses = data
    whole = router(max_epochs=2).fit(prompts, scores, responses=responses)
    from lookahead_sk.routing._language_model import _training

    step, count = _training.LanguageTrainer._step, []

    def dying(self, rows):
        count.append(self.step)
        if len(count) == 14:
            raise KeyboardInterrupt
        return step(self, rows)

    monkeypatch.setattr(_training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(_training.LanguageTrainer, "_step", dying)
    made = router(max_epochs=2, checkpoint_folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        made.fit(prompts, scores, responses=responses)
    made.fit(prompts, scores, responses=responses)
    assert count[14] == 13  # it did not begin anew
    assert_array_equal(made.predict_quality(prompts[:9]), whole.predict_quality(prompts[:9]))
    assert made.n_iter_ == 2


def test_callbacks_see_one_task_per_epoch(data):
    def routed_score(estimator, X, y):
        return estimator.score(X, y)

    monitor = ScoringMonitor(scoring={"score": routed_score})
    made = router(max_epochs=2, early_stopping=False).set_callbacks(monitor)
    made.fit(data[0], data[1], responses=data[2])
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in epochs] == [0, 1]
    assert epochs[-1]["score"] == pytest.approx(made.score(data[0], data[1]))


def test_cross_validation_slices_responses(data):
    made = router(max_epochs=1)
    scores = cross_val_score(
        made, data[0], data[1], cv=2, params={"responses": data[2]}, error_score="raise"
    )
    assert np.isfinite(scores).all()


def test_lora_learns_it_and_leaves_plain_weights(data):
    pytest.importorskip("peft")
    prompts, scores, responses = data
    made = router("causal", lora_rank=8, learning_rate=5e-3, max_epochs=6)
    made.fit(prompts, scores, responses=responses)
    assert not any("lora" in name for name in made.predictor_.network.state.weights)
    new_prompts, new_scores, _ = learnable(120, seed=7)
    assert made.score(new_prompts, new_scores) > 0.95


def test_bfloat16_runs_on_a_cpu_and_agrees(data):
    prompts, scores, responses = data
    made = router(max_epochs=2).fit(prompts, scores, responses=responses)
    # The network alone: the nearest prompts change with the last digit.
    made.predictor_ = replace(made.predictor_, blend=1.0)
    exact = made.predict_quality(prompts[:9])
    rounded = made.set_params(dtype="bfloat16").predict_quality(prompts[:9])
    assert np.abs(exact - rounded).max() < 2e-2
    assert np.abs(exact - rounded).max() > 0


@pytest.mark.cuda
@each_approach
def test_cuda_agrees_with_the_cpu(data, approach):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    made = router(approach, device="cuda").fit(data[0], data[1], responses=data[2])
    # The network alone: the nearest prompts change with the last digit.
    made.predictor_ = replace(made.predictor_, blend=1.0)
    on_gpu = made.predict_quality(data[0][:9])
    loaded = pickle.loads(pickle.dumps(made)).set_params(device="cpu")
    assert_allclose(loaded.predict_quality(data[0][:9]), on_gpu, atol=2e-2)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"backbone": 3}, TypeError, r"backbone must be a model name, a path, or a pair"),
        ({"backbone": ("a", "b")}, TypeError, "backbone must be a model name"),
        ({"head": "both"}, ValueError, "head must be one of 'pooled', 'cls'; got 'both'"),
        ({"n_frozen_layers": 3}, ValueError, "n_frozen_layers must be at most 2"),
        ({"n_frozen_layers": -1}, ValueError, "n_frozen_layers must be an int in"),
        ({"lora_rank": 0}, ValueError, "lora_rank must be an int in"),
        ({"descriptor_weight": -0.5}, ValueError, "descriptor_weight must be a float in"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of 'auto', 'float32', 'bfloat16'"),
        ({"checkpoint_folder": 3}, TypeError, "checkpoint_folder must be None or a path"),
        ({"response_tokens": 62}, ValueError, "response_tokens must be at most 60"),
        ({"response_tokens": 0}, ValueError, "response_tokens must be an int in"),
        ({"backbone": tiny("llama")}, ValueError, r"with \[CLS\] and \[SEP\]"),
    ],
)
def test_wrong_parameters_are_named(data, changes, kind, message):
    made = router(max_epochs=1).set_params(**changes)
    with pytest.raises(kind, match=message):
        made.fit(data[0][:8], data[1][:8])


def test_a_backbone_that_cannot_be_had_says_what_is_wrong(data, tmp_path):
    made = MaskedLookaheadRouter(tmp_path / "no-such-model", encoder="drop")
    with pytest.raises(OSError, match=r"backbone .*no-such-model' could not be loaded"):
        made.fit(data[0][:8], data[1][:8])


def test_lora_without_peft_names_the_extra(data, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install 'lookahead-sk\[lora\]'"):
        router(lora_rank=2).fit(data[0][:8], data[1][:8])


def test_a_backbone_can_be_a_folder(data, tmp_path):
    model, tokenizer = tiny("bert")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    options = {**QUICK, "max_epochs": 1}
    from_folder = MaskedLookaheadRouter(tmp_path, **options)
    from_folder.fit(data[0], data[1], responses=data[2])
    loaded = router(max_epochs=1).fit(data[0], data[1], responses=data[2])
    assert from_folder.predictor_.network.state.has_own_head
    assert_allclose(from_folder.predict_quality(data[0]), loaded.predict_quality(data[0]))


def test_a_folder_with_a_bare_trunk_gets_a_tied_head(data, tmp_path):
    model, tokenizer = tiny("bert-trunk")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    made = MaskedLookaheadRouter(tmp_path, **{**QUICK, "max_epochs": 1})
    made.fit(data[0], data[1], responses=data[2])
    assert not made.predictor_.network.state.has_own_head
    assert any("tied" in name for name in made.predictor_.network.state.weights)


def test_a_failed_fit_changes_nothing(data):
    made = router(max_epochs=1).fit(data[0], data[1])
    before = dict(vars(made))
    with pytest.raises(ValueError, match="response_tokens"):
        made.set_params(response_tokens=62).fit(data[0], data[1])
    after = {**vars(made), "response_tokens": before["response_tokens"]}
    assert after.keys() == before.keys()
    assert all(after[name] is value for name, value in before.items())
