"""Shared by all tests: one thread a process, no network, one small frozen encoder."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share two cores
