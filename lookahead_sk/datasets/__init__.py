"""Routing problems: made on the spot, and the published outputs of real language models."""

from lookahead_sk.datasets._make_routing import make_routing

__all__ = ["make_routing"]
