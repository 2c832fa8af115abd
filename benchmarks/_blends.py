"""What a router says, and what its network and its local average would say alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

Qualities = dict[str, npt.NDArray[np.float64]]


def with_blend(router: Any, blend: float) -> Any:
    """The router itself, its quality made of another share of its network's own score."""
    router.predictor_ = replace(router.predictor_, blend=blend)
    return router


def qualities(router: Any, prompts: list[str]) -> Qualities:
    """Quality (n, K) by the router, by its network and by its local average, if it has one."""
    fitted = router.predictor_
    network = with_blend(router, 1.0).predict_quality(prompts)
    found = {"router": network, "network": network}
    if fitted.local_average is not None:
        found["local"] = with_blend(router, 0.0).predict_quality(prompts)
        found["router"] = (1 - fitted.blend) * found["local"] + fitted.blend * network
    router.predictor_ = fitted
    return found
