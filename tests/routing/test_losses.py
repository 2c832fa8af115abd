"""The losses against their definitions, written out with plain loops."""

import numpy as np
import pytest
import torch

from lookahead_sk.routing._training._losses import response_loss, routing_loss


def test_routing_loss_is_the_weighted_mean_cross_entropy_of_observed_cells():
    logits = torch.tensor([[[0.3, -1.2], [2.0, 0.1], [-0.4, 0.9]]], dtype=torch.float64)
    scores = torch.tensor([[1.0, 0.25], [torch.nan, 0.0], [0.5, 1.0]], dtype=torch.float64)
    weight = torch.tensor([[1.0, 2.0, 0.0]], dtype=torch.float64)
    total = count = 0.0
    for i, k in [(0, 0), (0, 1), (1, 1)]:
        p = 1 / (1 + np.exp(-float(logits[0, i, k])))
        s, w = float(scores[i, k]), float(weight[0, i])
        total += w * -(s * np.log(p) + (1 - s) * np.log(1 - p))
        count += w
    assert routing_loss(logits, scores, weight)[0].item() == pytest.approx(total / count)


def test_response_loss_of_predicting_each_mean_is_the_total_variance():
    rng = np.random.RandomState(0)
    descriptors = torch.from_numpy(rng.randn(500, 2, 3))
    zeros = torch.zeros(1, 500, 2, 3, dtype=torch.float64)
    expected = (descriptors**2).sum(dim=2).mean().item()
    weight = torch.ones(1, 500, dtype=torch.float64)
    assert response_loss(zeros, descriptors, weight)[0].item() == pytest.approx(expected)


def test_responses_that_were_not_observed_have_no_gradient():
    latents = torch.ones(1, 2, 2, 1, requires_grad=True)
    descriptors = torch.tensor([[[0.0], [torch.nan]], [[torch.nan], [3.0]]])
    loss = response_loss(latents, descriptors, torch.ones(1, 2))
    loss.sum().backward()
    assert loss.item() == pytest.approx((1 + 4) / 2)
    assert latents.grad is not None
    assert latents.grad[0, 0, 1, 0] == 0
    assert latents.grad[0, 1, 0, 0] == 0
    assert torch.isfinite(latents.grad).all()


def test_members_weigh_prompts_apart():
    latents = torch.zeros(2, 2, 1, 1)
    descriptors = torch.tensor([[[1.0]], [[3.0]]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert response_loss(latents, descriptors, weight).tolist() == [1.0, 9.0]
