r"""The covariance of a quadratic trend, as a kernel of scikit-learn.

Source: Rasmussen and Williams 2006, section 2.7 (explicit basis functions) and eq. (4.19) for the
products. A quadratic function of the centred point z = x - 1/2 with independent normal coefficients
has the covariance

.. math:: k(z, z') = a\,(1 + z^\top z') + b\,(1 + (z^\top z')^2)

Engineering outputs are often near linear or near quadratic in the large, which a stationary kernel
learns only point by point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.gaussian_process import kernels as sk

from lookahead_sk._typing import FloatArray


class QuadraticTrend(sk.Kernel):
    """Covariance of a quadratic function of the centred point, with random coefficients.

    Parameters
    ----------
    linear_variance : float, default=1.0
        Variance a of the linear coefficients, and of the constant.
    linear_variance_bounds : pair of floats or "fixed", default=(1e-8, 1e6)
        Bounds of a.
    quadratic_variance : float, default=1.0
        Variance b of the quadratic coefficients, and of the constant.
    quadratic_variance_bounds : pair of floats or "fixed", default=(1e-8, 1e6)
        Bounds of b.
    """

    def __init__(
        self,
        linear_variance: float = 1.0,
        linear_variance_bounds: Any = (1e-8, 1e6),
        quadratic_variance: float = 1.0,
        quadratic_variance_bounds: Any = (1e-8, 1e6),
    ) -> None:
        self.linear_variance = linear_variance
        self.linear_variance_bounds = linear_variance_bounds
        self.quadratic_variance = quadratic_variance
        self.quadratic_variance_bounds = quadratic_variance_bounds

    @property
    def hyperparameter_linear_variance(self) -> sk.Hyperparameter:
        """Variance of the linear coefficients."""
        return sk.Hyperparameter("linear_variance", "numeric", self.linear_variance_bounds)

    @property
    def hyperparameter_quadratic_variance(self) -> sk.Hyperparameter:
        """Variance of the quadratic coefficients."""
        return sk.Hyperparameter("quadratic_variance", "numeric", self.quadratic_variance_bounds)

    def __call__(
        self, X: FloatArray, Y: FloatArray | None = None, eval_gradient: bool = False
    ) -> Any:
        """Covariance (n, n'), and its derivatives in the logarithms of the free variances."""
        inner = (X - 0.5) @ ((X if Y is None else Y) - 0.5).T
        linear = self.linear_variance * (1 + inner)
        quadratic = self.quadratic_variance * (1 + inner**2)
        if not eval_gradient:
            return linear + quadratic
        parts = {"linear_variance": linear, "quadratic_variance": quadratic}
        free = [parts[h.name] for h in self.hyperparameters if not h.fixed]
        gradient = np.stack(free, axis=-1) if free else np.empty((*inner.shape, 0))
        return linear + quadratic, gradient

    def diag(self, X: FloatArray) -> FloatArray:
        """Variance at each point, (n,)."""
        square = ((X - 0.5) ** 2).sum(axis=1)
        linear = self.linear_variance * (1 + square)
        return np.asarray(linear + self.quadratic_variance * (1 + square**2))

    def is_stationary(self) -> bool:
        """It is not."""
        return False
