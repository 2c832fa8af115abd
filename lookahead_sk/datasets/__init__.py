"""Routing problems: made on the spot, read from logs, or published outputs of language models."""

from lookahead_sk.datasets._average_samples import average_samples
from lookahead_sk.datasets._fetch import fetch_lookahead_bench
from lookahead_sk.datasets._load_routing import load_routing
from lookahead_sk.datasets._make_routing import make_routing
from lookahead_sk.datasets._selfoss import fetch_selfoss_pool

__all__ = [
    "average_samples",
    "fetch_lookahead_bench",
    "fetch_selfoss_pool",
    "load_routing",
    "make_routing",
]
