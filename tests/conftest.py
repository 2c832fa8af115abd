"""Shared by all tests: one thread a process, no network, how much is fuzzed."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share two cores

from hypothesis import HealthCheck, Phase, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
# `make test` tries the same cases every time, so that it fails by what was changed and not by luck;
# `make fuzz` looks for new ones and shrinks what it finds, which may take minutes.
settings.register_profile(
    "fast",
    deadline=None,
    suppress_health_check=SLOW,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.register_profile("nightly", deadline=None, suppress_health_check=SLOW, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
