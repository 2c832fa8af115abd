"""Routing problems: made on the spot, and the published outputs of real language models."""

from lookahead_sk.datasets._fetch import fetch_lookahead_bench
from lookahead_sk.datasets._make_routing import make_routing
from lookahead_sk.datasets._selfoss import fetch_selfoss_pool

__all__ = ["fetch_lookahead_bench", "fetch_selfoss_pool", "make_routing"]
