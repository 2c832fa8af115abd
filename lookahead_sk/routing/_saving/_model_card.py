"""The README of a saved router: what someone should know who did not fit it."""

from __future__ import annotations

from typing import Any

from lookahead_sk._version import __version__
from lookahead_sk.metrics._tables import read_prices, read_token_prices

_UNITS = {"call": "cost of a call", "length": "price of a unit of length"}

_TEMPLATE = """---
library_name: lookahead_sk
tags: [llm-routing]
license: {license}
---

# {name}

Chooses one of these models for a prompt, by predicting what each would answer.

| candidate | mean training score | {unit} |
|---|---|---|
{candidates}

## What it was fitted on

- Reads prompts by: {reads}
- Training prompts: {n_prompts}; responses: {n_responses}
- Scores from {low:.4g} to {high:.4g}; more is better
- Mean score of held-out prompts, as routed: {validation_score:.4g}
- Held-out loss after each epoch: {losses}
- Share of the network in the quality: {blend:.3g}
- {gain}

## Intended use and limits

Choose among the candidates above for prompts like those of the training. Prompts of another kind
are not recognised unless `fallback` is set; `is_novel` flags them. The scores predict what the
candidates would have earned when the training data were collected: if a model is changed, or what
counts as a good answer, fit again or give feedback with `partial_fit`. The files may hold words of
the training prompts and, where `foresee` looks them up, training responses: share them as you would
share these data. No licence is implied by this card; put that of your data and models above.

## How to use it

```python
from lookahead_sk import {name}

router = {name}.from_pretrained("this folder")
router.predict(["Prove that 7 is prime"])
```

Written by lookahead_sk {version}. The files hold arrays and text, no code.
"""


_GAIN = "On held-out prompts, routing gained over always calling the best single model."
_NO_GAIN = (
    "On held-out prompts, routing gained nothing over the best single model: no other model is "
    "rated above it, and it is called unless costs speak against it."
)


def model_card(router: Any, name: str) -> str:
    """What a reader should know of a fitted router, of the class ``name``, as Markdown."""
    predictor = router.predictor_
    names = predictor.classes.tolist()
    shown = _shown_prices(router.costs, names)
    rows = [
        f"| {_cell(name)} | {score:.4g} | {price} |"
        for name, score, price in zip(names, predictor.mean_scores, shown, strict=True)
    ]
    low, high = predictor.score_range
    return _TEMPLATE.format(
        name=name,
        license="other",
        unit=_UNITS[router.cost_unit],
        candidates="\n".join(rows),
        reads=_cell(router._reads()),
        n_prompts=predictor.n_prompts,
        n_responses=predictor.n_responses,
        low=low,
        high=high,
        validation_score=predictor.validation_score,
        losses=", ".join(f"{loss:.4g}" for loss in predictor.validation_losses),
        blend=predictor.blend,
        gain=_GAIN if predictor.best_single is None else _NO_GAIN,
        version=__version__,
    )


def _shown_prices(costs: Any, names: list[Any]) -> list[str]:
    if costs is None:
        return ["not given"] * len(names)
    by_token = read_token_prices(costs, names)
    if by_token is not None:
        return [f"{price.input:g} in, {price.output:g} out, a million tokens" for price in by_token]
    return [f"{price:.4g}" for price in read_prices(costs, names)]


def _cell(value: Any) -> str:
    """Text that stays inside a cell of a table."""
    return str(value).replace("|", "\\|").replace("\n", " ")
