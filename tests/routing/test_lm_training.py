"""Training: what is learnable is learnt, a killed run goes on, memory that runs out is survived."""

import numpy as np
import pytest
import torch
from _tiny_models import learnable, network

from lookahead_sk.routing._language_model import _training
from lookahead_sk.routing._language_model._checkpoint import Checkpoint, fingerprint
from lookahead_sk.routing._language_model._training import (
    LanguagePlan,
    LanguageTrainer,
    TrainingTexts,
    cells_to_learn,
    parameter_groups,
    rate_at,
    validation_key,
)

CPU = torch.device("cpu")
PLAN = LanguagePlan(
    response_weight=0.5,
    descriptor_weight=1.0,
    learning_rate=3e-3,
    batch_size=8,
    max_epochs=3,
    early_stopping=True,
    patience=2,
    precision="float32",
    seed=0,
    verbose=False,
)


def problem(built, n=60, is_sparse=False):
    prompts, scores, responses = learnable(n)
    if is_sparse:  # of prompt i one score, or one response, or neither is missing
        scores[::3, 0] = np.nan
        responses[1::3, 1] = None
    vocabulary = built.vocabulary
    cells = [
        [None if cell is None else vocabulary.encode([cell])[0] for cell in row]
        for row in responses.tolist()
    ]
    return TrainingTexts(
        prompts=vocabulary.encode(prompts),
        responses=cells,
        scores=scores.astype(np.float32),
        descriptors=None,
        is_held_out=np.arange(n) % 4 == 0,
    )


def trainer(name="bert", plan=PLAN, checkpoint=None, **options):
    built = network(name, n_models=2, n_tokens=4, **options)
    return LanguageTrainer(built, problem(built), plan, CPU, checkpoint)


def weights_of(each):
    return {k: p.detach().clone() for k, p in each.network.named_parameters()}


def train(each):
    while not each.is_over:
        each.run_epoch()
    each.finish()


class Killed(Exception):
    """What stands for a power cut."""


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("killed_at", [4, 6, 11])  # within an epoch, at its end, in the second
def test_a_training_that_was_killed_ends_like_one_that_was_not(
    tmp_path, monkeypatch, name, killed_at
):
    whole = trainer(name)
    train(whole)
    monkeypatch.setattr(_training, "CHECKPOINT_SECONDS", 0.0)
    first = trainer(name, checkpoint=Checkpoint(tmp_path, "run"))
    step = first._step

    def dying(rows):
        if first.step == killed_at:
            raise Killed
        return step(rows)

    first._step = dying
    with pytest.raises(Killed):
        train(first)
    second = trainer(name, checkpoint=Checkpoint(tmp_path, "run"))
    assert second.step == killed_at
    train(second)
    assert second.losses == whole.losses
    for key, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(second)[key]), key
    assert list(tmp_path.iterdir()) == []  # a training that has ended leaves nothing behind


def test_a_damaged_checkpoint_is_named(tmp_path):
    checkpoint = Checkpoint(tmp_path, "run")
    one = trainer(checkpoint=checkpoint)
    one.save()
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"checkpoint_folder holds a damaged file, .*training\."):
        trainer(checkpoint=checkpoint)


def test_another_plan_or_other_data_has_another_name():
    names = {fingerprint(1, [2]), fingerprint(1, [3]), fingerprint(2, [2]), fingerprint(b"x")}
    assert len(names) == 4
    assert fingerprint(1, [2]) == fingerprint(1, [2])


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_memory_that_runs_out_makes_smaller_passes_with_the_same_gradient(name, monkeypatch):
    plain, short = trainer(name), trainer(name)
    for each in (plain, short):
        each.texts = problem(each.network, is_sparse=True)
        each.cells = cells_to_learn(each.network, each.texts)
        for module in each.network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    sizes = []
    loss = short._loss

    def hungry(rows, n_cells):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return loss(rows, n_cells)

    monkeypatch.setattr(short, "_loss", hungry)
    for each in (plain, short):
        each._step(each.rows[:8])
    assert sizes[0] == 8
    assert max(sizes[-4:]) <= 2
    assert short.budget.tokens < plain.budget.tokens
    for key, parameter in plain.trained.items():
        gradient = short.trained[key].grad
        assert torch.allclose(parameter.grad, gradient, atol=1e-6), key


def test_other_errors_are_not_swallowed(monkeypatch):
    each = trainer()

    def fail(rows, n_cells):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(each, "_loss", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        each._step(each.rows[:8])


def test_the_rate_warms_up_and_falls_to_nothing_along_a_cosine():
    rates = [rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(0.996, abs=2e-3)
    assert rates[50] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.0002467, rel=1e-2)


def test_what_is_new_learns_ten_times_as_fast_as_the_backbone():
    built = network("bert-trunk")
    backbone, new = parameter_groups(built, 1e-3)
    assert (backbone["base_lr"], new["base_lr"]) == pytest.approx((1e-3, 1e-2))
    own = {id(p) for p in built.language_model.model.parameters()}
    assert {id(p) for p in backbone["params"]} == own
    assert id(built.model_tokens) in {id(p) for p in new["params"]}


def test_validation_is_the_routed_score_with_the_loss_to_break_ties():
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, 0.5]], dtype=np.float32)
    sure = np.array([[2.0, -2.0], [-2.0, 2.0], [0.0, 1.0]], dtype=np.float32)
    key = validation_key(sure, scores)
    assert key[0] == pytest.approx((1 + 1 + 0.5) / 3)
    unsure = validation_key(sure / 4, scores)
    assert unsure[0] == key[0]
    assert unsure[1] < key[1]
    assert validation_key(-sure, scores)[0] == 0.0  # the third prompt's choice was not observed


def test_early_stopping_restores_the_best_epoch():
    each = trainer(plan=PLAN)
    keys = iter([(0.7, -0.5), (0.9, -0.4), (0.8, -0.1)])
    kept = []

    def validate():
        key = next(keys)
        each.losses.append(-key[1])
        if key > each.best_key:
            each.best_key, each.best, each.best_epoch = key, each._copy(), len(each.losses)
            kept.append(weights_of(each))

    each._validate = validate
    train(each)
    assert len(kept) == 2
    for key, value in weights_of(each).items():
        assert torch.equal(value, kept[-1][key])


def test_training_stops_when_the_held_out_prompts_have_not_been_better_for_a_while():
    plan = LanguagePlan(**{**vars(PLAN), "learning_rate": 1e-12, "max_epochs": 9})
    each = trainer(plan=plan)
    each.best_key = (2.0, 0.0)  # cannot be beaten
    train(each)
    assert len(each.losses) == plan.patience


def test_the_step_s_loss_is_routing_plus_weighted_response_loss():
    each = trainer()
    each.network.eval()
    rows = each.rows[:4].tolist()
    each.step = each.n_steps  # everything is hidden
    total = each._loss(rows, each.cells[rows].sum(axis=0))
    built, texts = each.network, each.texts
    batch = built.collate([texts.prompts[i] for i in rows], [texts.responses[i] for i in rows], 1.0)
    seen = built(batch)
    target = torch.from_numpy(texts.scores[rows])
    routing = torch.nn.functional.binary_cross_entropy_with_logits(seen.logits, target)
    assert total.item() == pytest.approx((routing + 0.5 * seen.token_loss).item(), abs=1e-5)
    assert seen.token_loss.item() > 0.1


def test_a_step_without_a_finite_gradient_is_left_out_and_many_end_the_training(monkeypatch):
    each = trainer()
    loss, n_bad = each._loss, [1]

    def sometimes(rows, n_cells):
        return loss(rows, n_cells) * (float("nan") if n_bad[0] > 0 else 1.0)

    monkeypatch.setattr(each, "_loss", sometimes)
    before = weights_of(each)
    each._step(each.rows[:8])
    assert all(torch.equal(value, before[key]) for key, value in weights_of(each).items())
    n_bad[0] = 0
    each._step(each.rows[:8])
    after = weights_of(each)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(value, before[key]) for key, value in after.items())
    n_bad[0] = 1
    for _ in range(4):
        each._step(each.rows[:8])
    with pytest.raises(FloatingPointError, match=r"diverged: at step 6 .* learning_rate, or dtype"):
        each._step(each.rows[:8])
