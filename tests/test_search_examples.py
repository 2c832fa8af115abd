"""The examples of searches run; those that scale out do so on two real workers of a cluster."""

import importlib.util
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # what is pickled for a worker is found by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def example(monkeypatch):
    """Load an example with smaller numbers."""
    names = []

    def make(name, **numbers):
        module = load(name)
        names.append(name)
        for key, value in numbers.items():
            monkeypatch.setattr(module, key, value)
        return module

    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES), prepend=":")
    yield make
    for name in names:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore")  # of the cluster's shutdown
def test_a_search_on_dask_finds_what_it_finds_without(example):
    pytest.importorskip("distributed")
    module = example("search_on_dask", N_CANDIDATES=4)
    there = module.main(n_workers=2)
    here = there.__class__(**there.get_params(deep=False)).fit(
        *(part[:600] for part in module.load_digits(return_X_y=True))
    )
    assert there.cv_results_["params"] == here.cv_results_["params"]
    np.testing.assert_array_equal(
        there.cv_results_["mean_test_accuracy"], here.cv_results_["mean_test_accuracy"]
    )


@pytest.mark.filterwarnings("ignore")
def test_every_dask_worker_loads_the_router_once(example):
    pytest.importorskip("distributed")
    routed = example("route_with_dask", N_PROMPTS=400, N_PARTITIONS=8).main(n_workers=2)
    assert len(routed) == 400
    assert {row["loads"] for row in routed} == {1}
    assert len({row["model"] for row in routed}) > 1


def test_a_router_is_tuned_inside_its_limits(example, capsys):
    search = example("tune_router", N_PROMPTS=300, N_CANDIDATES=6, MOST_SECONDS=60.0).main()
    best = search.best_index_
    assert search.cv_results_["mean_test_cost"][best] <= 10
    assert "tuned router" in capsys.readouterr().out


def test_the_picture_is_drawn(monkeypatch, tmp_path):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", ["plot", str(tmp_path / "picture.png")])
    names = runpy.run_path(str(EXAMPLES / "plot_constrained_search.py"))
    assert names["search"].n_feasible_ > 0
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_processes_share_a_study_and_one_is_killed(example, tmp_path, capsys):
    module = example("optuna_many_processes", N_TRIALS=8)
    module.main(tmp_path / "study.journal")
    out = capsys.readouterr().out
    assert "lost: 0" in out
    assert "Best: accuracy" in out
