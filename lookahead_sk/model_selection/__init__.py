"""Hyper-parameter search that maximises one metric while others stay inside limits."""

from lookahead_sk.model_selection._limits import NoFeasibleCandidateWarning
from lookahead_sk.model_selection._out_of_fold import cross_val_quality
from lookahead_sk.model_selection._search import ConstrainedSearchCV

__all__ = ["ConstrainedSearchCV", "NoFeasibleCandidateWarning", "cross_val_quality"]
