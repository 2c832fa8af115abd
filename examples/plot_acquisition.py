"""
Look at what the optimiser sees
===============================

The problem is a variant of Gardner's first: minimise :math:`\\cos 2x \\cos y + \\sin x` subject to
:math:`\\cos(x + y) + 0.5 \\le 0`. The best feasible value is -1.88875. After a dozen evaluations,
``AcquisitionDisplay`` draws the two-step value over the plane and along one variable.
``ConvergenceDisplay`` draws the best value that the search has reached.

Run ``python plot_acquisition.py picture.png`` to save the picture instead of showing it.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.inspection import AcquisitionDisplay, ConvergenceDisplay


def evaluate(X):
    x, y = np.asarray(X).T
    return np.stack([np.cos(2 * x) * np.cos(y) + np.sin(x), np.cos(x + y) + 0.5], axis=1)


# %%
optimizer = TwoStepConstrainedBO([(0, 6), (0, 6)], n_constraints=1, random_state=1)
while len(optimizer.y_) < 12:
    X = optimizer.ask()
    optimizer.tell(X, evaluate(X))

# %%
figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
AcquisitionDisplay.from_estimator(optimizer, [0, 1], grid_resolution=30, ax=axes[0])
AcquisitionDisplay.from_estimator(optimizer, [0], grid_resolution=120, ax=axes[1])
ConvergenceDisplay.from_estimator(optimizer, optimum=-1.88875, ax=axes[2])
print(f"best feasible value after {len(optimizer.y_)} evaluations: {optimizer.best_y_:.4f}")

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=110)
else:
    plt.show()
