"""A router as JSON: a plain reader makes the very same choices."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from lookahead_sk.baselines import ClusterRouter, KNNRouter
from lookahead_sk.integrations.gateway import export_clusters
from lookahead_sk.metrics._cost_quality import route

READER = Path(__file__).parents[2] / "examples" / "gateway_reader.py"
COSTS = [1.0, 3.0, 10.0]


def reader():
    spec = importlib.util.spec_from_file_location("gateway_reader", READER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 8)).astype(np.float32)
    return X, np.clip(0.5 + 0.3 * X[:, :3] + 0.1 * rng.normal(size=(400, 3)), 0, 1)


@pytest.mark.parametrize("assignment", ["hard", "soft"])
@pytest.mark.parametrize("weight", [0.0, 0.03])
def test_the_reader_makes_the_very_same_choices(problem, tmp_path, assignment, weight):
    X, y = problem
    router = ClusterRouter("passthrough", n_clusters=16, assignment=assignment, random_state=0)
    router.fit(X[:200], y[:200])
    export_clusters(router, tmp_path / "router.json", costs=COSTS, cost_weight=weight)
    module = reader()
    read = module.load(tmp_path / "router.json")
    new = X[200:]
    quality = router.predict_quality(new)
    found = [module.quality(read, z) for z in new.tolist()]
    np.testing.assert_allclose(found, quality, rtol=1e-5)
    expected = route(quality, np.broadcast_to(COSTS, quality.shape), weight)
    assert [module.choose(read, z) for z in new.tolist()] == expected.tolist()
    assert len(set(expected.tolist())) > 1


def test_equal_models_go_to_the_cheapest(tmp_path):
    X, y = np.arange(20.0)[:, None], np.full((20, 3), 0.5)
    router = ClusterRouter("passthrough", n_clusters=2, random_state=0).fit(X, y)
    export_clusters(router, tmp_path / "router.json", costs=[3.0, 1.0, 1.0])
    module = reader()
    assert module.choose(module.load(tmp_path / "router.json"), [4.0]) == 1


def test_the_reader_is_a_program_of_fifty_lines_without_packages(problem, tmp_path):
    X, y = problem
    router = ClusterRouter("passthrough", n_clusters=4, random_state=0).fit(X, y)
    export_clusters(router, tmp_path / "router.json")
    command = [sys.executable, "-S", "-I", str(READER), str(tmp_path / "router.json")]
    given = json.dumps(X[0].tolist())
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(router.predict(X[:1])[0]), done.stderr
    assert len(READER.read_text().splitlines()) <= 50
    (tmp_path / "router.json").write_text('{"format": "other", "version": 1}')
    with pytest.raises(ValueError, match="not a file that this reader knows"):
        reader().load(tmp_path / "router.json")


class Letters:
    def encode(self, texts, **options):
        return np.array([[text.count(chr(97 + j)) for j in range(26)] for text in texts], float)


def test_the_file_says_what_its_documentation_says(problem, tmp_path):
    X, y = problem
    router = ClusterRouter("passthrough", n_clusters=4, n_clusterings=2, random_state=0).fit(X, y)
    export_clusters(router, tmp_path / "router.json", costs=COSTS, cost_weight=0.5)
    read = json.loads((tmp_path / "router.json").read_text())
    assert read["costs"] == COSTS
    assert read["cost_weight"] == 0.5
    assert (read["encoder"], read["n_features"], len(read["clusterings"])) == (None, 8, 2)
    assert np.shape(read["clusterings"][0]["centres"]) == (4, 8)
    assert np.shape(read["clusterings"][0]["means"]) == (4, 3)


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(problem, tmp_path):
    X, y = problem
    path = tmp_path / "router.json"
    router = ClusterRouter("passthrough", n_clusters=4, random_state=0)
    with pytest.raises(NotFittedError):
        export_clusters(router, path)
    router.fit(X, y)
    with pytest.raises(TypeError, match="router must be a ClusterRouter"):
        export_clusters(KNNRouter("passthrough"), path)
    with pytest.raises(ValueError, match="costs must be"):
        export_clusters(router, path, costs=[1.0])
    with pytest.raises(ValueError, match="cost_weight must be"):
        export_clusters(router, path, cost_weight=-1.0)
    texts = [f"word{i % 5} and word{i % 7}" for i in range(60)]
    lexical = ClusterRouter(Letters(), n_clusters=2, lexical_features=4, random_state=0)
    with pytest.raises(ValueError, match="router must be fitted with lexical_features=0"):
        export_clusters(lexical.fit(texts, y[:60]), path)
    assert list(tmp_path.iterdir()) == []
