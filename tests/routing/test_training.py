"""The network and its training, by second routes."""

import numpy as np
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from lookahead_sk.routing._embedding import _training
from lookahead_sk.routing._embedding._network import LatentPredictor, predict_latents
from lookahead_sk.routing._embedding._training import (
    Trainer,
    TrainingData,
    TrainingPlan,
    linear_latents,
)

PLAN = TrainingPlan(
    n_members=3,
    n_latent=2,
    response_weight=1.0,
    learning_rate=1e-2,
    batch_size=16,
    max_epochs=4,
    early_stopping=True,
    seed=0,
    verbose=False,
)


def problem(n=90, p=6, n_models=2):
    rng = np.random.RandomState(0)
    x = rng.randn(n, p).astype(np.float32)
    descriptors = (x @ rng.randn(p, n_models * 2) + 0.1 * rng.randn(n, n_models * 2)).astype(
        np.float32
    )
    scores = rng.rand(n, n_models).astype(np.float32)
    return TrainingData(
        features=torch.from_numpy(x),
        scores=torch.from_numpy(scores),
        descriptors=torch.from_numpy(descriptors.reshape(n, n_models, 2)),
        fold=torch.arange(n) % 3,
    )


def train(data):
    trainer = Trainer(data, PLAN)
    while not trainer.is_over:
        trainer.run_epoch()
    return trainer.weights(), trainer.losses


def test_each_member_starts_from_ridge_regression_on_the_other_folds():
    data = problem()
    is_held_out = (data.fold == torch.arange(3)[:, None]).float()
    weights = linear_latents(data, is_held_out).numpy()
    x, true = data.features.numpy(), data.descriptors.flatten(1).numpy()
    errors = {}
    for penalty in _training.PENALTIES:
        fits = []
        for member in range(3):
            inside = data.fold.numpy() != member
            ridge = Ridge(penalty * inside.sum(), fit_intercept=False)
            fits.append(ridge.fit(x[inside], true[inside]))
        error = sum(
            ((fit.predict(x[data.fold == m]) - true[data.fold == m]) ** 2).sum()
            for m, fit in enumerate(fits)
        )
        errors[error] = fits
    best = errors[min(errors)]
    assert_allclose(weights, np.stack([fit.coef_.T for fit in best]), rtol=1e-3, atol=1e-4)


def test_no_model_depends_on_which_others_are_in_the_pool():
    network = LatentPredictor(2, 5, 3, 4, 8, 0.0, torch.Generator().manual_seed(0)).eval()
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    latents, logits = network(x)
    with torch.no_grad():
        network.score_latent[:, 2] += 1.0
        network.latent_weight[..., 8:] += 1.0  # the third model's rows
    changed, changed_logits = network(x)
    assert torch.equal(changed[:, :, :2], latents[:, :, :2])
    assert torch.equal(changed_logits[..., :2], logits[..., :2])
    assert not torch.equal(changed_logits[..., 2], logits[..., 2])


def test_a_member_never_learns_from_its_held_out_fold():
    data = problem()
    other = TrainingData(
        data.features,
        torch.where(data.fold[:, None] == 1, 1 - data.scores, data.scores),
        torch.where(data.fold[:, None, None] == 1, -data.descriptors, data.descriptors),
        data.fold,
    )
    plan = TrainingPlan(**{**vars(PLAN), "early_stopping": False})
    weights = []
    for each in (data, other):
        trainer = Trainer(each, plan)
        # Shared by all members: the penalty and the overall means. They are not what is tested.
        with torch.no_grad():
            trainer.network.linear_weight.zero_()
            trainer.network.score_bias.zero_()
        for _ in range(3):
            trainer.run_epoch()
        weights.append(trainer.weights())
    for name, value in weights[0].items():
        assert_allclose(value[1], weights[1][name][1], err_msg=name)
    assert not np.allclose(weights[0]["score_bias"][0], weights[1]["score_bias"][0])


def test_training_lowers_the_held_out_loss_and_keeps_the_best():
    data = problem(n=300)
    first = Trainer(data, PLAN).held_out_loss()
    weights, losses = train(data)
    assert min(losses) < float(first.mean())
    trainer = Trainer(data, PLAN)
    trainer.network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    assert float(trainer.held_out_loss().mean()) <= min(losses) + 1e-6


def test_held_out_latents_come_from_the_member_that_left_the_prompt_out():
    data = problem()
    weights, _ = train(data)
    x, fold = data.features.numpy(), data.fold.numpy()
    own, _ = predict_latents(weights, x, torch.device("cpu"), fold, chunk=32)
    network = LatentPredictor(3, 6, 2, 2, _training.N_HIDDEN, 0.0)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    with torch.no_grad():
        every, _ = network.eval()(data.features)
    for i in (0, 1, 2, 50):
        assert_allclose(own[i], every[fold[i], i].numpy(), rtol=1e-5, atol=1e-6)
    mean, _ = predict_latents(weights, x, torch.device("cpu"))
    assert_allclose(mean, every.mean(dim=0).numpy(), rtol=1e-4, atol=1e-6)
