"""What ``make demo`` runs: route prompts with a trained router, then tune under constraints.

`make_routing` makes the prompts. Six small programs of unequal skill and cost answer them. The
router learns from 500 scored prompts and the answers to them. Then it chooses a program for each of
300 new prompts, from the prompt alone.
"""

import time

import demo_tuning
import numpy as np

from lookahead_sk import LookaheadRouter
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.datasets import make_routing
from lookahead_sk.metrics import oracle_gain_score, paired_bootstrap, routing_score


def route() -> None:
    """Train a router and print what it gains over always calling the best single model."""
    print("1. LookaheadRouter: which model should answer this prompt?\n")
    data = make_routing(800, random_state=0)
    train, test = slice(0, 500), slice(500, 800)
    start = time.perf_counter()
    router = LookaheadRouter(response_tokens=48, random_state=0)
    router.fit(data.prompts[train], data.scores[train], responses=data.responses[train])
    print(f"   fitted on 500 prompts and 3,000 answers in {time.perf_counter() - start:.0f} s")
    knn = KNNRouter().fit(data.prompts[train], data.scores[train])

    truth, prompts = data.scores[test], data.prompts[test]
    best = int(data.scores[train].mean(axis=0).argmax())  # chosen on the training prompts
    chosen = {
        **{f"always {name}": k for k, name in enumerate(data.models)},
        "k nearest prompts": knn.predict(prompts),
        "LookaheadRouter": router.predict(prompts),
        "oracle (knows the answers)": truth.argmax(axis=1),
    }
    print(f"\n   {'on 300 new prompts':<28}{'mean score':>11}{'mean cost':>11}{'oracle gain':>13}")
    for name, choice in chosen.items():
        star = " *" if name == f"always {data.models[best]}" else ""
        print(
            f"   {name + star:<28}{routing_score(truth, choice):>11.3f}"
            f"{np.mean(np.asarray(data.costs)[choice]):>11.1f}"
            f"{oracle_gain_score(truth, choice, best_single=best):>13.0%}"
        )
    print("   * the best single model on the training prompts")
    change = paired_bootstrap(truth, chosen["LookaheadRouter"], best, random_state=0)
    print(
        f"\n   router - best single model: {change.estimate:+.3f} "
        f"(95 % interval {change.low:+.3f} to {change.high:+.3f}, paired bootstrap over prompts)"
    )
    show_one(router, data.models, prompts[:1])


def show_one(router: LookaheadRouter, models: list[str], prompt: list[str]) -> None:
    """Print what the router foresees for one new prompt."""
    quality = router.predict_quality(prompt)[0]
    print(f"\n   One of them: {prompt[0]!r}")
    print(f"   {'model':<16}{'expected score':>15}   most similar answer that it gave before")
    for k, seen in router.foresee(prompt)[0].items():
        answer = " ".join(seen["response"].split())
        answer = answer if len(answer) <= 56 else answer[:53] + "..."
        print(f"   {models[k]:<16}{quality[k]:>15.2f}   {answer}")
    print(f"   routed to: {models[int(router.predict(prompt)[0])]}")


if __name__ == "__main__":
    route()
    print("\n\n2. TwoStepConstrainedBO: tune under limits that only an experiment can check\n")
    demo_tuning.main()
