"""What comes from someone else runs nothing, allocates little, writes nowhere else."""

import ast
import gzip
import hashlib
import json
import os
import pickle
import resource
import struct
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from _fuzzing import WATCH
from _tiny_models import learnable, tiny

import lookahead_sk
from lookahead_sk import LookaheadRouter, MaskedLookaheadRouter, TwoStepConstrainedBO
from lookahead_sk._files import with_checksum
from lookahead_sk.datasets import _download, _local, _published
from lookahead_sk.routing._saving._folder import _digest

PACKAGE = Path(lookahead_sk.__file__).parent


class Hostile:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def folder(tmp_path):
    X = np.random.default_rng(0).normal(size=(20, 3))
    made = LookaheadRouter(encoder="passthrough", max_epochs=1, random_state=0)
    made.fit(X, (X > 0).astype(float)).save_pretrained(tmp_path / "router")
    return tmp_path / "router"


def masked_router(folder):
    """Save a fine-tuned router; return its prompts."""
    prompts, scores, responses = learnable(20)
    made = MaskedLookaheadRouter(tiny("bert"), encoder="drop", response_tokens=2, max_epochs=1)
    made.fit(prompts, scores, responses=responses).save_pretrained(folder)
    return prompts


def edit(folder, change):
    path = folder / "router.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(with_checksum(content)))


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump, torch.save])
def test_pickles_under_the_names_of_our_files_are_never_opened(folder, tmp_path, dump):
    mark = tmp_path / "executed"
    names = ("router.json", "arrays.safetensors")
    originals = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        with (folder / name).open("wb") as file:
            dump(Hostile(mark), file)
        if name == "arrays.safetensors":
            digest = {"sha256": _digest(folder / name)}
            edit(folder, lambda content, digest=digest: content.update(digest))
        with WATCH, pytest.raises(ValueError, match=name):
            LookaheadRouter.from_pretrained(folder)
        for each, content in originals.items():
            (folder / each).write_bytes(content)
    run = tmp_path / "run.json"
    with run.open("wb") as file:
        dump(Hostile(mark), file)
    with WATCH, pytest.raises(ValueError, match=r"run\.json"):
        TwoStepConstrainedBO.load(run)
    for name in ("router.pkl", "model.joblib", "pytorch_model.bin", "__init__.py", "conftest.py"):
        (folder / name).write_bytes(pickle.dumps(Hostile(mark)))
    LookaheadRouter.from_pretrained(folder)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Hostile(mark)))
    assert mark.exists()  # the trap itself works


@pytest.mark.parametrize("name", ["test", "qmc", "bootstrap", "rv_histogram", "__loader__", "no"])
def test_only_distributions_can_be_named_by_an_optimizers_file(tmp_path, name):
    mark = tmp_path / "executed"
    (tmp_path / "test_evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    made = TwoStepConstrainedBO({"x": (0, 1)}, random_state=0)
    made.save(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text())
    arguments = {"extra_argv": [str(tmp_path / "test_evil.py")]}
    evil = {"kind": "continuous", "name": name, "args": [], "kwds": arguments}
    content["parameters"]["bounds"]["x"] = evil
    (tmp_path / "run.json").write_text(json.dumps(with_checksum(content)))
    with WATCH, pytest.raises(ValueError, match=r"run\.json is damaged.*distributions"):
        TwoStepConstrainedBO.load(tmp_path / "run.json")
    assert not mark.exists()


def test_a_folder_names_no_place_to_write_and_no_file_to_read(folder, tmp_path):
    def change(content):
        content["parameters"]["items"].append(["checkpoint_folder", str(tmp_path / "elsewhere")])
        content["arrays"] = "../../secret"

    edit(folder, change)
    with pytest.raises(ValueError, match="unknown entries"):
        LookaheadRouter.from_pretrained(folder)
    masked_router(tmp_path / "masked")
    edit(tmp_path / "masked", lambda content: content["parameters"]["items"].append(
        ["checkpoint_folder", str(tmp_path / "elsewhere")]))  # fmt: skip
    assert MaskedLookaheadRouter.from_pretrained(tmp_path / "masked").checkpoint_folder is None


def test_names_of_arrays_are_names_and_no_paths(folder, tmp_path):
    from safetensors.numpy import save_file

    np.save(tmp_path / "secret.npy", np.ones((3,)))
    edit(folder, lambda content: content["attributes"]["items"].append(
        ["stolen_", {"kind": "array", "name": "../secret.npy"}]))  # fmt: skip
    with pytest.raises(ValueError, match=r"router\.json.*secret"):
        LookaheadRouter.from_pretrained(folder)
    save_file({"../secret.npy": np.zeros(2)}, folder / "arrays.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["router", "secret.npy"]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


GIANT = 2**40


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F64", "shape": [GIANT], "data_offsets": [0, 8 * GIANT]}},
        {"a": {"dtype": "F64", "shape": [GIANT, GIANT, GIANT], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": [GIANT], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}},
        None,
    ],
)
def test_giant_shapes_in_a_safetensors_header_take_no_memory(folder, header):
    text = json.dumps(header).encode()
    size = GIANT if header is None else len(text)
    (folder / "arrays.safetensors").write_bytes(struct.pack("<Q", size) + text + bytes(8))
    digest = _digest(folder / "arrays.safetensors")
    edit(folder, lambda content: content.update(sha256=digest))
    before = peak()
    with pytest.raises(ValueError, match=folder.name):
        LookaheadRouter.from_pretrained(folder)
    assert peak() - before < 2**28


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "cells", "dtype": "<U1000000000", "shape": [3], "items": ["a", "b", "c"]},
        {"kind": "cells", "dtype": "V1000000000", "shape": [1], "items": ["a"]},
        {"kind": "cells", "dtype": "object", "shape": [GIANT, GIANT], "items": ["a"]},
    ],
)
def test_giant_shapes_in_json_take_no_memory(folder, entry):
    edit(folder, lambda content: content["attributes"]["items"].append(["other_", entry]))
    before = peak()
    try:
        loaded = LookaheadRouter.from_pretrained(folder)
    except ValueError as error:
        assert "router.json" in str(error)  # noqa: PT017
    else:
        assert loaded.other_.nbytes < 100
    assert peak() - before < 2**28


@pytest.mark.parametrize(
    ("name", "value"),
    [("vocab_size", GIANT), ("hidden_size", 2**20), ("num_hidden_layers", 10**9),
     ("max_position_embeddings", GIANT), ("num_hidden_layers", "many")],
)  # fmt: skip
def test_a_giant_backbone_is_refused_before_it_is_built(tmp_path, name, value):
    prompts = masked_router(tmp_path / "router")

    def change(content):
        predictor = dict(content["attributes"]["items"])["predictor_"]
        state = predictor["fields"]["network"]["fields"]["state"]
        items = state["fields"]["config"]["items"]
        state["fields"]["config"]["items"] = [[k, value if k == name else v] for k, v in items]

    edit(tmp_path / "router", change)
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router")
    before = peak()
    with pytest.raises((TypeError, ValueError)):
        loaded.predict(prompts[:2])
    assert peak() - before < 2**28


def test_a_giant_design_is_refused(tmp_path):
    made = TwoStepConstrainedBO([(0, 1)], random_state=0)
    made.tell([[0.5]], [np.nan])
    made.save(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text())
    content["state"]["n_designed"] = GIANT
    (tmp_path / "run.json").write_text(json.dumps(with_checksum(content)))
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        TwoStepConstrainedBO.load(tmp_path / "run.json")


def test_a_gzipped_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "GSM8k.jsonl.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(bytes(2**20))
    monkeypatch.setattr(_published, "MAX_UNCOMPRESSED", 2**22)
    read = []
    plain = gzip.GzipFile.read

    def counted(self, size=-1):
        chunk = plain(self, size)
        read.append(len(chunk))
        return chunk

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    for reader in (_local.read_packed, _published._load, _published._load_lines):
        read.clear()
        with pytest.raises(ValueError, match=r"GSM8k\.jsonl\.gz holds more than 4194304 bytes"):
            reader(path)
        assert sum(read) < 2**23


def test_a_text_of_the_largest_allowed_size_is_read(tmp_path, monkeypatch):
    with gzip.open(tmp_path / "a.json.gz", "wt", encoding="utf-8") as file:
        file.write('"äöü"')
    monkeypatch.setattr(_published, "MAX_UNCOMPRESSED", 8)
    assert _published._load(tmp_path / "a.json.gz") == "äöü"
    monkeypatch.setattr(_published, "MAX_UNCOMPRESSED", 7)
    with pytest.raises(ValueError, match="more than 7 bytes"):
        _published._load(tmp_path / "a.json.gz")


@pytest.mark.parametrize(
    "files", [None, [], {"a": None}, {"a": {"bytes": 3}}, {"a": {"sha256": None}}]
)
def test_a_manifest_that_makes_no_sense_counts_as_none(tmp_path, files):
    content = {"source": "https://x", "files": files}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    (tmp_path / "a").write_bytes(b"content")
    repository = _download.PinnedRepository("https://y", "https://x", tmp_path)
    assert repository.missing(["a"]) == ["a"]
    content["files"] = {"a": {"sha256": hashlib.sha256(b"content").hexdigest()}}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert repository.missing(["a"]) == []


def test_a_listing_cannot_say_less_than_nothing(tmp_path, monkeypatch):
    listing = {"tree": [{"type": "blob", "path": "a", "sha": "0", "size": -5}]}
    monkeypatch.setattr(_download, "_persist", lambda *arguments: json.dumps(listing).encode())
    repository = _download.PinnedRepository("https://y", "https://x", tmp_path)
    with pytest.raises(OSError, match="did not answer with a git tree"):
        repository.ensure(["a"])


def calls_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load",
             "pickle.loads", "joblib.load", "torch.load", "np.load", "marshal.loads",
             "tarfile.open", "zipfile.ZipFile", "yaml.load"}  # fmt: skip
MODULES = {"subprocess", "pickle", "shelve", "marshal", "dill", "cloudpickle", "tarfile", "zipfile"}


def faults(source):
    tree = ast.parse(source)
    found = [name for name, _ in calls_of(tree) if name in FORBIDDEN]
    for name, node in calls_of(tree):
        for keyword in node.keywords:
            if keyword.arg in ("shell", "trust_remote_code", "allow_pickle"):
                found += [] if ast.unparse(keyword.value) == "False" else [f"{name}({keyword.arg})"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_the_package_has_no_shell_no_eval_and_no_pickle(path):
    assert faults(path.read_text(encoding="utf-8")) == []


def test_such_a_fault_would_be_found():
    source = "import subprocess\nfrom pickle import loads\neval('1')\nf(x, shell=True)\n"
    assert faults(source) == ["eval", "f(shell)", "subprocess", "pickle"]


def test_files_are_as_private_as_the_user_wants_them(tmp_path):
    made = TwoStepConstrainedBO([(0, 1)], random_state=0)
    mask = os.umask(0o027)
    try:
        made.save(tmp_path / "run.json")
        assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o640
        (tmp_path / "run.json").chmod(0o600)
        made.save(tmp_path / "run.json")
        assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)
