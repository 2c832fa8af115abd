"""
What would a router have saved, and what may it lose?
=====================================================

A gateway has logged its calls: one model for each prompt, its cost, and a score of the answer. It
calls the dearest model half of the time, and any of six otherwise. From these logs alone a router
is fitted on the first half of the calls. It is audited on the second half: what it would have
scored and cost, and a bound on the quality that it loses. No prompt is answered twice.

Run ``python plot_audit.py picture.png`` to save the picture instead of showing it.
"""

import json
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lookahead_sk.audit import BandMonitor, audit_routing, certify_policy
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.datasets import load_routing, make_routing
from lookahead_sk.inspection import RoutingAuditDisplay

N_CALLS = 3000
ALPHA = 0.05

# %%
# The gateway. Its rule is known: half of the calls go to the first model, the others to any.
world = make_routing(N_CALLS, random_state=0)
rule = np.full(6, 0.5 / 6)
rule[0] += 0.5
called = np.random.default_rng(1).choice(6, size=N_CALLS, p=rule)
calls = [
    {
        "prompt": world.prompts[i],
        "model": world.models[k],
        "score": world.scores[i, k],
        "response": world.responses[i, k],
        "cost": f"${world.costs[k] / 1000}",
        "propensity": rule[k],
    }
    for i, k in enumerate(called)
]
path = Path(tempfile.mkdtemp()) / "calls.jsonl"
path.write_text("".join(json.dumps(call) + "\n" for call in calls))

# %%
# Load the log, fit a router on the first half, and let it choose models for the second half.
data = load_routing(path, models=world.models, duplicates="keep", score_range=(0, 1), as_frame=True)
half = N_CALLS // 2
router = KNNRouter(n_neighbors=50, random_state=0).fit(data.prompts[:half], data.scores[:half])
new, scores = data.prompts[half:], data.scores[half:]
quality = router.predict_quality(new)
PRICE = 10.0  # score that a dollar must buy
chosen = (quality - PRICE * data.model_costs).argmax(axis=1)

# %%
# Audit. The controls are the traffic itself, single models, and a random mix that costs as much.
propensities = np.tile(rule, (len(new), 1))
audit = audit_routing(
    {"router": chosen},
    scores,
    costs=data.costs[half:],
    propensities=propensities,
    quality=quality,
    level=1 - ALPHA,
)
print(audit)

# %%
# Certify: a bound on the loss of quality that holds for every sample size.
certificate = certify_policy(
    chosen, scores, propensities=propensities, quality=quality, alpha=ALPHA
)
print(certificate)

# %%
# Once the router is switched on, a monitor watches the live scores.
floor = max(audit.policies["traffic"].quality.value - certificate.loss - 0.05, 0.0)
monitor = BandMonitor(low=floor, alpha=ALPHA)
live = make_routing(300, random_state=1)
columns = (router.predict_quality(live.prompts) - PRICE * data.model_costs).argmax(axis=1)
monitor.update(live.scores[np.arange(300), columns])
print(f"300 live calls, mean score {monitor.mean_:.3f}, band left: {monitor.is_left_}")

# %%
# The sentence to sign.
saving = audit.policies["router"].saving
print(
    f"The router saves {saving.value:.0%} [{saving.low:.0%}, {saving.high:.0%}] of the cost "
    f"with a quality loss of at most {certificate.loss:.3f}, {1 - ALPHA:.0%}."
)
RoutingAuditDisplay.from_audit(audit)
if len(sys.argv) > 1:
    plt.savefig(sys.argv[1], dpi=110)
else:
    plt.show()
