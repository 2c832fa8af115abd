"""Two-step lookahead constrained Bayesian optimisation."""

from lookahead_sk.optimization._optimizer import TwoStepConstrainedBO

__all__ = ["TwoStepConstrainedBO"]
