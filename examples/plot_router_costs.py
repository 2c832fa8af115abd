"""
What does a cheaper answer cost in quality?
===========================================

A router predicts the quality of every model's answer before any model is called. If it knows the
prices, it can trade quality for cost. ``RoutingCurveDisplay`` draws that trade-off beside the
single models, a nearest-neighbour router and an oracle. ``RoutingConfusionDisplay`` shows which
choices were not the best ones, and how much score they lost.

Run ``python plot_router_costs.py picture.png`` to save the picture instead of showing it.
"""

import sys

import matplotlib.pyplot as plt

from lookahead_sk import LookaheadRouter
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.datasets import make_routing
from lookahead_sk.inspection import RoutingConfusionDisplay, RoutingCurveDisplay

# %%
# Prompts, the answers of six small programs to them, their scores, and the cost of a call.
data = make_routing(900, random_state=0, as_frame=True)  # the columns are the models' names
X_train, X_test = data.prompts[:600], data.prompts[600:]
y_train, y_test = data.scores[:600], data.scores[600:]

lookahead = LookaheadRouter(random_state=0)
lookahead.fit(X_train, y_train, responses=data.responses[:600])
neighbours = KNNRouter(random_state=0).fit(X_train, y_train)

# %%
# Left: every point of a curve is a cost weight. Right: the score that each wrong choice loses.
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
routers = {"LookaheadRouter": lookahead, "KNNRouter": neighbours}
RoutingCurveDisplay.from_estimator(routers, X_test, y_test, costs=data.costs, ax=left)
RoutingConfusionDisplay.from_estimator(lookahead, X_test, y_test, values="regret", ax=right)
print(f"mean score of the models chosen: {lookahead.score(X_test, y_test):.3f}")

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=110)
else:
    plt.show()
