"""Life after training, on real prompts: a model added, feedback taken in, strange prompts flagged.

``LOOKAHEAD_SK_DATA=folder python benchmarks/routing_later.py`` uses the folds of
``benchmarks/routing.py`` (seed 0) and prints three tables.

added      one of the five models is left out of ``fit`` and added from n prompts
feedback   fitted on 1,000 prompts, then one call a prompt, the score of the called model only
novelty    fitted without one benchmark: the share of its prompts, and of others held out, flagged
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from _embeddings import CachedEncoder
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from lookahead_sk import LookaheadRouter
from lookahead_sk.datasets import fetch_lookahead_bench
from lookahead_sk.metrics import oracle_gain_score

RESULTS = Path(__file__).resolve().parent / "results"
SIZES = (30, 100, 300, 1000)
N_FITTED = 1000  # prompts before the first feedback


class Folds:
    """The folds, and routers fitted on them."""

    def __init__(self, data: Any, encoder: Any) -> None:
        self.data = data
        self.encoder = encoder
        split = StratifiedKFold(5, shuffle=True, random_state=0)
        self.folds = list(split.split(data.prompts, data.benchmark))

    def fit(self, rows: Any, models: Any) -> LookaheadRouter:
        """The default router on some prompts and some models."""
        data, cells = self.data, np.ix_(rows, models)
        return LookaheadRouter(encoder=self.encoder, random_state=0).fit(
            self.prompts(rows),
            data.scores[cells],
            responses=data.responses[cells],
            response_lengths=data.response_chars[cells].astype(float),
        )

    def prompts(self, rows: Any) -> list[str]:
        """Texts of some prompts."""
        return [self.data.prompts[i] for i in rows]

    def gains(self, test: Any, chosen: Any, best_single: int) -> tuple[float, float]:
        """Macro and micro share of the oracle's gain over the best single model."""
        given = {"best_single": best_single, "groups": self.data.benchmark[test]}
        scores = self.data.scores[test]
        return (
            oracle_gain_score(scores, chosen, average="macro", **given),
            oracle_gain_score(scores, chosen, average="micro", **given),
        )


def added(folds: Folds, fold: int) -> list[dict[str, Any]]:
    """Gains with a model left out, added from few prompts, or fitted like the others."""
    data = folds.data
    train, test = folds.folds[fold]
    best = int(data.scores[train].mean(axis=0).argmax())
    n_models = data.scores.shape[1]
    prompts = folds.prompts(test)
    whole = folds.fit(train, list(range(n_models))).predict_quality(prompts)
    records = []
    for left_out in range(n_models):
        others = [k for k in range(n_models) if k != left_out]
        router = folds.fit(train, others)
        names = np.array([*others, left_out])
        without = names[router.predict_quality(prompts).argmax(axis=1)]
        ways = {"left out": without, "fitted": whole.argmax(axis=1)}
        shuffled = np.random.RandomState(fold).permutation(train)
        for n in SIZES:
            rows = shuffled[:n]
            grown = copy.deepcopy(router).add_model(
                "new", folds.prompts(rows), data.scores[rows, left_out]
            )
            quality = grown.predict_quality(prompts)
            assert np.array_equal(quality[:, :-1], router.predict_quality(prompts))
            ways[f"added, n = {n}"] = names[quality.argmax(axis=1)]
        for way, chosen in ways.items():
            macro, micro = folds.gains(test, chosen, best)
            called = float((chosen == left_out).mean())
            records.append(
                {"model": left_out, "way": way, "macro": macro, "micro": micro, "called": called}
            )
    return records


def feedback(folds: Folds, fold: int) -> list[dict[str, Any]]:
    """Gains before and after feedback on the called model, or on all of them."""
    data = folds.data
    train, test = folds.folds[fold]
    best = int(data.scores[train].mean(axis=0).argmax())
    models = list(range(data.scores.shape[1]))
    shuffled = np.random.RandomState(fold).permutation(train)
    first, rest = shuffled[:N_FITTED], shuffled[N_FITTED:]
    router = folds.fit(first, models)
    prompts = folds.prompts(test)
    ways = {
        "fitted on 1,000": router.predict(prompts),
        "fitted on all": folds.fit(train, models).predict(prompts),
    }
    called, everything = copy.deepcopy(router), copy.deepcopy(router)
    explored = copy.deepcopy(router)
    rng = np.random.RandomState(fold)
    for rows in np.array_split(rest, 20):
        batch = folds.prompts(rows)
        one = called.predict(batch)
        called.partial_fit(batch, np.where(one[:, None] == models, data.scores[rows], np.nan))
        one = explored.predict(batch)
        is_random = rng.random_sample(len(one)) < 0.1
        one = np.where(is_random, rng.randint(len(models), size=len(one)), one)
        explored.partial_fit(batch, np.where(one[:, None] == models, data.scores[rows], np.nan))
        everything.partial_fit(batch, data.scores[rows])
    ways["+ scores of the called model"] = called.predict(prompts)
    ways["+ the same, 10 % called at random"] = explored.predict(prompts)
    ways["+ scores of all models"] = everything.predict(prompts)
    records = []
    for way, chosen in ways.items():
        macro, micro = folds.gains(test, chosen, best)
        records.append({"way": way, "macro": macro, "micro": micro})
    return records


def novelty(folds: Folds, fold: int) -> list[dict[str, Any]]:
    """Prompts of a benchmark that the router has not seen, against held-out ones that it has."""
    data = folds.data
    train, test = folds.folds[fold]
    records = []
    for group in np.unique(data.benchmark):
        router = folds.fit(train[data.benchmark[train] != group], [0, 1])
        p_values = router.novelty_p_values(folds.prompts(test))
        is_new = data.benchmark[test] == group
        records.append(
            {
                "benchmark": str(group),
                "auc": roc_auc_score(is_new, -p_values),
                "flagged": float((p_values[is_new] <= 0.01).mean()),
                "flagged_05": float((p_values[is_new] <= 0.05).mean()),
                "false": float((p_values[~is_new] <= 0.01).mean()),
                "false_05": float((p_values[~is_new] <= 0.05).mean()),
            }
        )
    return records


PARTS = {"added": added, "feedback": feedback, "novelty": novelty}


def table(records: list[dict[str, Any]], keys: list[str], values: list[str]) -> None:
    """Means of the values over folds, and over all that is not a key."""
    print("\n| " + " | ".join(keys + values) + " |\n" + "|---" * len(keys + values) + "|")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in keys), []).append(record)
    for group, members in groups.items():
        means = [f"{np.mean([m[value] for m in members]):.3f}" for value in values]
        print("| " + " | ".join([*map(str, group), *means]) + " |")


def main() -> None:
    """Run the parts on the folds and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="data; LOOKAHEAD_SK_DATA when not given")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    args = parser.parse_args()
    folds = Folds(fetch_lookahead_bench(folder=args.folder), CachedEncoder(RESULTS))
    for part in args.parts:
        records = [r | {"fold": fold} for fold in args.folds for r in PARTS[part](folds, fold)]
        (RESULTS / f"later_{part}.json").write_text(json.dumps(records))
        if part == "added":
            table(records, ["way"], ["macro", "micro", "called"])
            table(records, ["model", "way"], ["macro", "micro", "called"])
        elif part == "feedback":
            table(records, ["way"], ["macro", "micro"])
        else:
            table(records, ["benchmark"], ["auc", "flagged", "false", "flagged_05", "false_05"])


if __name__ == "__main__":
    main()
