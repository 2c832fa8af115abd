"""Two-step lookahead constrained Bayesian optimisation."""

from lookahead_sk.optimization._optimizer import TwoStepConstrainedBO
from lookahead_sk.optimization._problem import SearchOptions

__all__ = ["SearchOptions", "TwoStepConstrainedBO"]
