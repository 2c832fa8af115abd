"""What the process has set in torch changes nothing of an optimiser."""

import numpy as np
import pytest
import torch

from lookahead_sk import TwoStepConstrainedBO


def results():
    Z = np.random.RandomState(0).rand(12, 2)
    outputs = np.column_stack([((Z - 0.4) ** 2).sum(axis=1), Z.sum(axis=1) - 1.2])
    optimizer = TwoStepConstrainedBO([(0, 1)] * 2, 1, random_state=0).tell(Z, outputs)
    found = [optimizer.predict(Z), optimizer.ask(), optimizer.acquisition_gradient(Z[:2])]
    return [*found, optimizer.acquisition_value(Z[:2]), optimizer.fit(Z, outputs).predict(Z)]


@pytest.mark.parametrize("state", [torch.no_grad, torch.inference_mode])
def test_gradients_that_are_off_change_nothing(state):
    expected = results()
    with state():
        found = results()
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_default_type_changes_nothing():
    expected = results()
    torch.set_default_dtype(torch.float64)
    try:
        found = results()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_auto_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert np.isfinite(results()[0]).all()
