"""
Tune a model that must fit a latency and a size limit
=====================================================

Which boosted trees classify best, among those that answer within a time limit and fit into a size
limit? All three numbers are known only after training. ``TwoStepConstrainedBO`` proposes the next
model by ``ask``. We train it, measure it, and report the numbers by ``tell``. The same number of
random models serves as a comparison.

Run ``python plot_constrained_tuning.py picture.png`` to save the picture instead of showing it.
"""

import pickle
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform, randint
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import cross_val_predict

from lookahead_sk import TwoStepConstrainedBO

N_EVALUATIONS = 18
MAX_KILOBYTES = 60.0
MAX_MILLISECONDS = 0.9  # to classify the 569 patients of the data set

SPACE = {
    "n_estimators": randint(5, 101),
    "learning_rate": loguniform(0.01, 1.0),
    "max_depth": randint(1, 7),
    "max_features": loguniform(0.03, 1.0),
}
X, y = load_breast_cancer(return_X_y=True)


# %%
# One experiment: the log loss by cross-validation, and how far a model trained on everything is
# above each limit, in parts of the limit. The latency is a measurement, and noisy as such.
def evaluate(point):
    model = GradientBoostingClassifier(**point, subsample=0.7, random_state=0)
    probability = cross_val_predict(model, X, y, cv=3, method="predict_proba")[:, 1]
    probability = np.clip(probability, 1e-4, 1 - 1e-4)
    loss = -np.mean(y * np.log(probability) + (1 - y) * np.log(1 - probability))
    model.fit(X, y)
    times = []
    for _ in range(15):
        start = time.perf_counter()
        model.predict(X)
        times.append(1e3 * (time.perf_counter() - start))
    kilobytes = len(pickle.dumps(model)) / 1e3
    return [loss, min(times) / MAX_MILLISECONDS - 1, kilobytes / MAX_KILOBYTES - 1]


# %%
# The loop is ours. It could run on a cluster, or be resumed tomorrow from ``optimizer.save``.
# ``remaining`` says how many evaluations are left, because the last one should not explore.
optimizer = TwoStepConstrainedBO(SPACE, n_constraints=2, random_state=0)
for i in range(N_EVALUATIONS):
    points = optimizer.ask(remaining=N_EVALUATIONS - i)
    optimizer.tell(points, [evaluate(point) for point in points])

print(f"best of {optimizer.is_feasible_.sum()} feasible models: {optimizer.best_x_}")
print(f"log loss {optimizer.best_y_:.4f}")

# %%
# Random models from the same space, for comparison.
rng = np.random.default_rng(0)
random_points = [
    {name: law.rvs(random_state=rng) for name, law in SPACE.items()} for _ in range(N_EVALUATIONS)
]
random_y = np.array([evaluate(point) for point in random_points])


def best_so_far(outputs):
    feasible = (outputs[:, 1:] <= 0).all(axis=1)
    return np.minimum.accumulate(np.where(feasible, outputs[:, 0], np.nan_to_num(np.inf)))


# %%
# Left: the best model inside both limits after each evaluation. Right: where the evaluated models
# lie. Most proposals are in the corner that both limits leave.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
steps = np.arange(1, N_EVALUATIONS + 1)
for outputs, label, color in ((optimizer.y_, "two-step", "C0"), (random_y, "random", "0.6")):
    curve = best_so_far(outputs)
    shown = curve < 1e300
    left.step(steps[shown], curve[shown], where="post", label=label, color=color, lw=2)
feasible = optimizer.is_feasible_
left.plot(steps[feasible], optimizer.y_[feasible, 0], "C0o", ms=4, label="evaluated, inside")
left.plot(
    steps[~feasible], optimizer.y_[~feasible, 0], "C3x", ms=5, label="evaluated, over a limit"
)
left.set(xlabel="evaluations", ylabel="cross-validated log loss", yscale="log")
left.legend(frameon=False, fontsize=9)

milliseconds = (1 + optimizer.y_[:, 1]) * MAX_MILLISECONDS
kilobytes = (1 + optimizer.y_[:, 2]) * MAX_KILOBYTES
cloud = right.scatter(milliseconds, kilobytes, c=np.log10(optimizer.y_[:, 0]), cmap="viridis_r")
right.axvline(MAX_MILLISECONDS, color="C3", lw=1)
right.axhline(MAX_KILOBYTES, color="C3", lw=1)
right.set(xlabel="latency, ms", ylabel="size, kB", xscale="log", yscale="log")
figure.colorbar(cloud, label="log10 of the log loss")
figure.tight_layout()
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=80)
else:
    plt.show()
