"""
Search under limits: a quick classifier with few false alarms
=============================================================

A support vector machine should find as many tumours as possible. It may raise a false alarm for at
most 2 % of the healthy patients. It may keep at most 80 support vectors, because they decide how
long a prediction takes. None of these numbers is known before a candidate is trained.
``ConstrainedSearchCV`` is used like ``RandomizedSearchCV``, which gets the same number of
evaluations here.

Run ``python plot_constrained_search.py picture.png`` to save the picture instead of showing it.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import make_scorer, recall_score
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from lookahead_sk import ConstrainedSearchCV

N_CANDIDATES = 20
X, y = load_breast_cancer(return_X_y=True)
y = 1 - y  # 1 is malignant


# %%
# Any scorer can be limited: a function of a fitted model and held-out data.
def false_alarms(model, X, y):
    return np.mean(model.predict(X)[y == 0])


def support_vectors(model, X, y):
    return float(model[-1].n_support_.sum())


scoring = {
    "recall": make_scorer(recall_score),
    "false_alarms": false_alarms,
    "support_vectors": support_vectors,
}
limits = {"false_alarms": (None, 0.02), "support_vectors": (None, 80)}
space = {
    "svc__C": loguniform(1e-2, 1e4),
    "svc__gamma": loguniform(1e-5, 1),
    "svc__class_weight": [None, "balanced", {0: 1, 1: 5}],
}
common = {
    "n_iter": N_CANDIDATES,
    "cv": StratifiedKFold(5, shuffle=True, random_state=0),
    "scoring": scoring,
    "random_state": 0,
}
model = make_pipeline(StandardScaler(), SVC())

search = ConstrainedSearchCV(model, space, objective="recall", constraints=limits, **common)
search.fit(X, y)
print(f"planned: {search.n_feasible_} of {N_CANDIDATES} candidates inside the limits")
print(f"  best recall {search.best_score_:.4f} with {search.best_params_}")

# %%
# The random search knows nothing of the limits: we apply them afterwards.
blind = RandomizedSearchCV(model, space, refit=False, **common).fit(X, y).cv_results_
inside = (blind["mean_test_false_alarms"] <= 0.02) & (blind["mean_test_support_vectors"] <= 80)
print(f"random:  {inside.sum()} of {N_CANDIDATES} candidates inside the limits")
if inside.any():
    print(f"  best recall {blind['mean_test_recall'][inside].max():.4f}")


# %%
# Left: the best candidate inside the limits after each evaluation. Right: where the candidates lie;
# the grey region breaks a limit.
def best_so_far(recall, inside):
    curve = np.maximum.accumulate(np.where(inside, recall, -np.inf))
    return np.where(np.isinf(curve), np.nan, curve)


found = search.cv_results_
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
steps = np.arange(1, N_CANDIDATES + 1)
for results, ok, label, color in (
    (found, found["is_feasible"], "ConstrainedSearchCV", "C0"),
    (blind, inside, "RandomizedSearchCV", "0.55"),
):
    curve = best_so_far(results["mean_test_recall"], ok)
    left.step(steps, curve, where="post", label=label, color=color, lw=2)
    x, z = results["mean_test_support_vectors"], 100 * results["mean_test_false_alarms"]
    right.scatter(x, z, label=label, color=color, s=28, zorder=3)
left.set(xlabel="candidates evaluated", ylabel="best recall inside the limits")
left.set(xlim=(1, N_CANDIDATES), xticks=[1, *range(5, N_CANDIDATES + 1, 5)])
left.legend(frameon=False, loc="lower right")
right.axvspan(80, 700, color="0.9", zorder=0)
right.axhspan(2, 200, color="0.9", zorder=0)
right.set_xscale("log")
right.set_yscale("symlog", linthresh=2)  # linear up to the limit
right.set(xlabel="support vectors", ylabel="false alarms, %", xlim=(25, 700), ylim=(-0.1, 130))
for axis, ticks in ((right.xaxis, [30, 60, 80, 150, 300, 600]), (right.yaxis, [0, 1, 2, 10, 100])):
    axis.set_ticks(ticks, [str(tick) for tick in ticks])
    axis.set_ticks([], minor=True)
best = search.best_index_
right.plot(
    found["mean_test_support_vectors"][best],
    100 * found["mean_test_false_alarms"][best],
    "*",
    color="C3",
    ms=15,
    zorder=4,
    label="chosen",
)
right.legend(frameon=False, fontsize=9, loc="upper left")
figure.tight_layout()
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=80)
else:
    plt.show()
