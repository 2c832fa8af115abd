"""The mean of several local averages, each in a space of its own.

The spaces are weighted columns of one space, which hold predicted responses and features: an
average's axes hold its weights. Averages that share axes are one: clusterings with clusterings,
neighbourhoods with neighbourhoods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from lookahead_sk._typing import Float32Array, FloatArray
from lookahead_sk.routing._local_average._clusters import Clusters
from lookahead_sk.routing._local_average._neighbors import Neighbors


@dataclass
class Mixture:
    """Mean of local averages.

    Attributes
    ----------
    members : list of Clusters or Neighbors
        The averages; each counts as often as it joins candidates of the choice.
    """

    members: list[Clusters | Neighbors]

    def predict(self, space: Float32Array) -> FloatArray:
        """Mean scores (n, K) of similar prompts."""
        shares = np.array([member.n_averaged for member in self.members])
        parts = (member.predict(space) for member in self.members)
        quality: FloatArray = np.zeros(1)
        for share, part in zip(shares / shares.sum(), parts, strict=True):
            quality = quality + share * part
        return quality

    def updated(self, space: Float32Array, scores: FloatArray) -> Self:
        """The same averages with more prompts (n, f) in them, and their scores (n, K)."""
        return replace(self, members=[m.updated(space, scores) for m in self.members])

    def emptied(self) -> Self:
        """The same averages for another model, of which no score has been seen."""
        return replace(self, members=[member.emptied() for member in self.members])

    def zeroed(self) -> Self:
        """The same averages, all scores 0: residuals before any feedback."""
        return replace(self, members=[member.zeroed() for member in self.members])


def mix(averages: Sequence[Clusters | Neighbors]) -> Mixture:
    """The mean of local averages, those of one kind and one space joined."""
    members: dict[tuple[type, int], Clusters | Neighbors] = {}
    for average in averages:
        key = (type(average), id(average.axes))
        known = members.get(key)
        members[key] = average if known is None else known.joined(average)  # type: ignore[arg-type]
    return Mixture(list(members.values()))
