"""Routers as folders: the same predictions, no code, no half-written files."""

import json
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from _tiny_models import learnable, tiny
from numpy.testing import assert_allclose, assert_array_equal

from lookahead_sk import CausalLookaheadRouter, LookaheadRouter, MaskedLookaheadRouter
from lookahead_sk.datasets import make_routing
from lookahead_sk.routing._saving import _folder

QUICK = {"max_epochs": 2, "random_state": 0}
FILES = ["README.md", "arrays.safetensors", "router.json"]


def without_checksum(content):
    """A file altered on purpose; the first folders had no checksum, and still load."""
    return {key: value for key, value in content.items() if key != "checksum"}


def fit(approach, encoder):
    if approach == "embedding":
        data = make_routing(80, random_state=0)
        made = LookaheadRouter(encoder=encoder, lexical_features=16, **QUICK)
        names = pd.DataFrame(data.scores, columns=data.models)
        return made.fit(data.prompts, names, responses=data.responses), data.prompts[:9]
    if approach == "passthrough":
        X = np.random.RandomState(0).randn(40, 5)
        made = LookaheadRouter(encoder="passthrough", **QUICK)
        return made.fit(X, (X[:, :3] > 0).astype(float)), X[:9]
    prompts, scores, responses = learnable(60)
    backbone = tiny("bert" if approach == "masked" else "llama")
    cls = MaskedLookaheadRouter if approach == "masked" else CausalLookaheadRouter
    made = cls(backbone, encoder=encoder, response_tokens=3, **QUICK)
    made.set_params(costs=[1.0, 2.0], descriptor_weight=1.0)
    return made.fit(prompts, scores, responses=responses), prompts[:9]


@pytest.fixture(scope="module")
def routers(encoder):
    """Careful: do not fit them again."""
    return {name: fit(name, encoder) for name in ("embedding", "passthrough", "masked", "causal")}


@pytest.mark.parametrize("name", ["embedding", "passthrough", "masked", "causal"])
def test_a_router_from_a_folder_does_all_that_the_saved_one_did(routers, name, tmp_path):
    made, X = routers[name]
    made.save_pretrained(tmp_path / "router")
    assert sorted(path.name for path in (tmp_path / "router").iterdir()) == FILES
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router")
    assert_array_equal(loaded.classes_, made.classes_)
    assert loaded.classes_.dtype == made.classes_.dtype
    for method in ("predict", "predict_quality", "predict_proba", "transform"):
        assert_array_equal(getattr(loaded, method)(X), getattr(made, method)(X))
    if name != "passthrough":
        assert loaded.foresee(X[:2]) == made.foresee(X[:2])
    left_out = {"backbone"}
    for key, value in made.get_params().items():
        if key == "costs" and value is not None:
            value = dict(zip(made.classes_.tolist(), value, strict=True))  # written by name
        if key not in left_out:
            assert loaded.get_params()[key] == value, key
    # What was loaded can be saved again, to the very same content.
    loaded.save_pretrained(tmp_path / "again")
    first, second = (
        json.loads((tmp_path / folder / "router.json").read_text())
        for folder in ("router", "again")
    )
    assert first["attributes"] == second["attributes"]
    assert first["sha256"] == second["sha256"]


def test_the_model_card_tells_candidates_data_and_validation(routers, tmp_path):
    made, _ = routers["embedding"]
    made.save_pretrained(tmp_path / "router")
    card = (tmp_path / "router" / "README.md").read_text()
    for name, score in zip(made.classes_, made.mean_scores_, strict=True):
        assert f"| {name} | {score:.4g} |" in card
    assert "Training prompts: 80" in card
    assert f"as routed: {made.validation_score_:.4g}" in card


@pytest.mark.parametrize(
    ("file", "how"),
    [
        *((file, how) for file in FILES[1:] for how in ("truncated", "missing", "empty")),
        ("arrays.safetensors", "altered"),
    ],
)
def test_a_damaged_file_is_refused_by_name(routers, tmp_path, file, how):
    made, _ = routers["masked"]
    made.save_pretrained(tmp_path / "router")
    path = tmp_path / "router" / file
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "altered":
        path.write_bytes(content[:-60] + b"#" + content[-59:])
    else:
        path.write_bytes(content[: len(content) // 2] if how == "truncated" else b"")
    with pytest.raises(ValueError, match=file):
        LookaheadRouter.from_pretrained(tmp_path / "router")


def test_another_version_and_another_format_are_refused(routers, tmp_path):
    made, _ = routers["passthrough"]
    made.save_pretrained(tmp_path / "router")
    path = tmp_path / "router" / "router.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(ValueError, match=r"folder must be of format version 6; got 99"):
        LookaheadRouter.from_pretrained(tmp_path / "router")
    path.write_text(json.dumps({**content, "format": "other"}))
    with pytest.raises(ValueError, match=r"router\.json is missing or damaged"):
        LookaheadRouter.from_pretrained(tmp_path / "router")


@pytest.mark.parametrize("best_single", [3, -1, "0", 0.5, True])
def test_a_best_single_model_that_is_none_of_the_models_is_refused(routers, tmp_path, best_single):
    made, _ = routers["passthrough"]
    assert len(made.classes_) == 3
    made.save_pretrained(tmp_path / "router")
    path = tmp_path / "router" / "router.json"
    content = json.loads(path.read_text())
    (predictor,) = [v for k, v in content["attributes"]["items"] if k == "predictor_"]
    predictor["fields"]["best_single"] = best_single
    path.write_text(json.dumps(without_checksum(content)))
    with pytest.raises(ValueError, match=r"router\.json"):
        LookaheadRouter.from_pretrained(tmp_path / "router")


@pytest.mark.parametrize("kind", ["os.system", "Popen", "object", None])
def test_no_other_type_can_be_named_by_a_file(routers, tmp_path, kind):
    made, _ = routers["passthrough"]
    made.save_pretrained(tmp_path / "router")
    path = tmp_path / "router" / "router.json"
    content = json.loads(path.read_text())
    evil = {"kind": kind, "fields": {"args": "touch evil"}}
    content["attributes"]["items"].append(["kinds_", evil])
    path.write_text(json.dumps(without_checksum(content)))
    with pytest.raises(ValueError, match=r"router\.json"):
        LookaheadRouter.from_pretrained(tmp_path / "router")


def test_a_file_cannot_put_a_method_on_the_router(routers, tmp_path):
    made, _ = routers["passthrough"]
    made.save_pretrained(tmp_path / "router")
    path = tmp_path / "router" / "router.json"
    content = json.loads(path.read_text())
    content["attributes"]["items"].append(["predict", "evil"])
    path.write_text(json.dumps(without_checksum(content)))
    with pytest.raises(ValueError, match="unknown entries"):
        LookaheadRouter.from_pretrained(tmp_path / "router")


def test_loading_neither_unpickles_nor_runs_code_of_the_folder(routers, tmp_path, monkeypatch):
    made, X = routers["masked"]
    made.save_pretrained(tmp_path / "router")
    path = tmp_path / "router" / "router.json"
    content = json.loads(path.read_text())
    predictor = dict(content["attributes"]["items"])["predictor_"]
    stacked = predictor["fields"]["network"]["fields"]
    state = stacked["language"]["fields"]["state"]
    code = {"kind": "dict", "items": [["AutoConfig", "evil.Config"], ["AutoModel", "evil.Model"]]}
    state["fields"]["config"]["items"].append(["auto_map", code])
    state["fields"]["config"]["items"].append(["attn_implementation", "someone/evil-kernel"])
    path.write_text(json.dumps(without_checksum(content)))
    (tmp_path / "router" / "evil.py").write_text("raise SystemExit('executed')")

    def forbidden(*args, **options):
        raise AssertionError("unpickled")

    for module in (pickle, torch):
        monkeypatch.setattr(module, "load", forbidden)
    monkeypatch.setattr(pickle, "loads", forbidden)
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router")
    assert_array_equal(loaded.predict(X), made.predict(X))
    assert "evil" not in sys.modules
    model = loaded.predictor_.network.language.state.network(torch.device("cpu")).language_model
    assert model.config._attn_implementation == "sdpa"


def test_a_save_that_fails_leaves_the_old_folder_and_no_litter(routers, tmp_path, monkeypatch):
    made, X = routers["passthrough"]
    made.save_pretrained(tmp_path / "router")
    before = {path.name: path.read_bytes() for path in (tmp_path / "router").iterdir()}

    def full(router, name):
        raise OSError("No space left on device")

    monkeypatch.setattr(_folder, "model_card", full)
    with pytest.raises(OSError, match="No space left"):
        made.save_pretrained(tmp_path / "router")
    assert {path.name: path.read_bytes() for path in (tmp_path / "router").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["router"]
    monkeypatch.undo()
    made.save_pretrained(tmp_path / "router")  # writing over an older one is fine
    assert [path.name for path in tmp_path.iterdir()] == ["router"]
    assert_array_equal(
        LookaheadRouter.from_pretrained(tmp_path / "router").predict(X), made.predict(X)
    )


def test_a_folder_with_other_files_is_not_touched(routers, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="folder must be new, empty, or written by save_pretrain"):
        routers["passthrough"][0].save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_encoder_object_is_asked_for_again(tmp_path):
    class Encoder:
        max_seq_length = None

        def encode(self, texts, **options):
            return np.array([[len(t), t.count("a"), 1.0] for t in texts], dtype=np.float32)

    data = make_routing(60, random_state=0)
    made = LookaheadRouter(encoder=Encoder(), **QUICK).fit(data.prompts, data.scores)
    made.save_pretrained(tmp_path / "router")
    with pytest.raises(ValueError, match="encoder must be given to from_pretrained"):
        LookaheadRouter.from_pretrained(tmp_path / "router")
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router", encoder=Encoder())
    assert_allclose(
        loaded.predict_quality(data.prompts[:5]), made.predict_quality(data.prompts[:5])
    )


def test_parameters_can_be_changed_on_the_way_in(routers, tmp_path):
    made, _ = routers["masked"]
    made.save_pretrained(tmp_path / "router")
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router", cost_weight=0.5, device="cpu")
    assert loaded.cost_weight == 0.5
    assert pickle.loads(pickle.dumps(loaded)).cost_weight == 0.5
