"""
Serve a router without the package
==================================

``export_clusters`` wrote it: ``python gateway_reader.py router.json < embedding.json``.
"""

import json
import math
import sys


def load(path):
    """The file as a dict."""
    with open(path, encoding="utf-8") as file:
        router = json.load(file)
    if (router["format"], router["version"]) != ("lookahead_sk.clusters", 1):
        raise ValueError(f"not a file that this reader knows: {path}")
    return router


def shares(distances, temperature):
    """How much a prompt belongs to each cluster."""
    nearest = min(distances)
    if temperature is None:
        return [float(c == distances.index(nearest)) for c in range(len(distances))]
    weights = [math.exp((nearest - distance) / temperature) for distance in distances]
    return [weight / sum(weights) for weight in weights]


def quality(router, embedding):
    """Expected score of every model."""
    totals = [0.0] * len(router["models"])
    for clustering in router["clusterings"]:
        distances = [math.dist(embedding, centre) ** 2 for centre in clustering["centres"]]
        for c, share in enumerate(shares(distances, clustering["temperature"])):
            totals = [totals[k] + share * mean for k, mean in enumerate(clustering["means"][c])]
    return [total / len(router["clusterings"]) for total in totals]


def choose(router, embedding):
    """The model with the largest quality less weighted cost; among equals the cheapest."""
    predicted, costs = quality(router, embedding), router["costs"]
    utility = [q - router["cost_weight"] * costs[k] for k, q in enumerate(predicted)]
    best = [k for k, value in enumerate(utility) if value == max(utility)]
    return router["models"][min(best, key=lambda k: costs[k])]


if __name__ == "__main__":
    print(choose(load(sys.argv[1]), json.load(sys.stdin)))
