"""Thousands of small files need not reach the disk."""

import os

import pytest

collect_ignore = ["atheris_loaders.py"]  # a program of its own, see `make fuzz`


@pytest.fixture(autouse=True)
def _without_syncing(request, monkeypatch):
    if request.module.__name__.rsplit(".", 1)[-1].startswith("test_fuzz"):
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
