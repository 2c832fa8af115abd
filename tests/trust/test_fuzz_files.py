"""Saved files, damaged by chance or on purpose: they load whole, or an error names the file."""

import copy
import json

import pytest
from _fuzzing import WATCH, cases, load_or_refuse, save_optimizer, save_router
from hypothesis import given
from hypothesis import strategies as st

from lookahead_sk import LookaheadRouter, TwoStepConstrainedBO
from lookahead_sk._files import with_checksum
from lookahead_sk.routing._language_model._checkpoint import Checkpoint
from lookahead_sk.routing._saving._folder import _digest


@st.composite
def damage(draw):
    """A function that changes bytes: flips, cuts, doubles, or puts something else in."""
    kind = draw(st.sampled_from(["flip", "byte", "cut", "drop", "double", "insert", "swap"]))
    place, length = draw(st.floats(0, 1)), draw(st.integers(1, 40))
    number = draw(st.integers(1, 255))
    inserted = draw(st.binary(min_size=1, max_size=12) | st.sampled_from(
        [b"null", b"-1", b"1e999", b"NaN", b"{}", b"[]", b'"', b"\\ud800", b"\xff\xfe", b"9" * 30]
    ))  # fmt: skip

    def apply(content):
        at = int(place * (len(content) - 1))
        end = at + length
        if kind == "flip":
            return content[:at] + bytes([content[at] ^ (1 << number % 8)]) + content[at + 1 :]
        if kind == "byte":
            return content[:at] + bytes([content[at] ^ number]) + content[at + 1 :]
        if kind == "cut":
            return content[:at]
        if kind == "drop":
            return content[:at] + content[end:]
        if kind == "double":
            return content[:end] + content[at:]
        if kind == "insert":
            return content[:at] + inserted + content[at:]
        return (
            content[:at] + content[end : end + length] + content[at:end] + content[end + length :]
        )

    return apply


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3),
    st.sampled_from([10**30, -(10**18), 2**63, 1e308, "../../etc/passwd", "os.system", "\ud800",
                     "test", "rv_histogram", "<U999999999", "|O", [], {}, [[]], {"kind": "array"},
                     {"kind": "cells", "dtype": "V99", "shape": [10**9], "items": []},
                     {"kind": "Kinds", "fields": {}}, {"kernel": "DotProduct", "parameters": {}}]),
)  # fmt: skip


def places(content, path=()):
    """Every place of a JSON value."""
    yield path
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in list(items)[:40]:
            yield from places(value, (*path, key))


def altered(content, path, value, how):
    """The content with the value at a place replaced, left out, or wrapped."""
    content = copy.deepcopy(content)
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    if how == "replace":
        parent[path[-1]] = value
    elif how == "drop":
        del parent[path[-1]]
    elif isinstance(parent, dict):
        parent[f"{path[-1]}x"] = value
    else:
        parent.insert(path[-1], value)
    return content


@pytest.fixture(scope="module")
def router_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("router") / "made"
    save_router(folder)
    return folder


@pytest.fixture(scope="module")
def optimizer_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("optimizer") / "run.json"
    save_optimizer(path)
    return path


def put(folder, tmp_path, **files):
    target = tmp_path / "copy"
    target.mkdir(exist_ok=True)
    for name in ("router.json", "arrays.safetensors"):
        (target / name).write_bytes((folder / name).read_bytes())
    for name, content in files.items():
        (target / name.replace("_", ".")).write_bytes(content)
    return target


@given(change=damage())
@cases(30, 2500)
def test_a_router_whose_json_was_damaged_is_the_same_or_refused(router_folder, tmp_path, change):
    content = (router_folder / "router.json").read_bytes()
    target = put(router_folder, tmp_path, router_json=change(content))
    loaded = load_or_refuse(lambda: LookaheadRouter.from_pretrained(target), target / "router.json")
    if loaded is not None:
        loaded.save_pretrained(tmp_path / "again")
        assert (tmp_path / "again" / "router.json").read_bytes() == content


@given(change=damage(), has_digest=st.booleans())
@cases(30, 2500)
def test_a_router_whose_arrays_were_damaged_is_refused(router_folder, tmp_path, change, has_digest):
    content = (router_folder / "arrays.safetensors").read_bytes()
    changed = change(content)
    target = put(router_folder, tmp_path, arrays_safetensors=changed)
    path = target / "arrays.safetensors"
    if has_digest:  # made on purpose
        whole = json.loads((target / "router.json").read_text())
        whole["sha256"] = _digest(path)
        (target / "router.json").write_text(json.dumps(with_checksum(whole)))
    with WATCH:
        try:
            LookaheadRouter.from_pretrained(target)
        except ValueError as error:
            assert target.name in str(error)  # noqa: PT017
        else:
            assert changed == content or has_digest


@given(data=st.data(), value=HOSTILE, how=st.sampled_from(["replace", "drop", "add"]))
@cases(30, 2500)
def test_a_router_made_on_purpose_loads_or_is_refused(router_folder, tmp_path, data, value, how):
    content = json.loads((router_folder / "router.json").read_text())
    path = data.draw(st.sampled_from([p for p in places(content) if p]))
    whole = altered(content, path, value, how)
    if path[0] != "checksum":
        whole = with_checksum(whole)
    target = put(router_folder, tmp_path, router_json=json.dumps(whole).encode())
    load_or_refuse(lambda: LookaheadRouter.from_pretrained(target), target / "router.json")


@given(change=damage())
@cases(30, 2500)
def test_an_optimizer_whose_file_was_damaged_is_the_same_or_refused(
    optimizer_file, tmp_path, change
):
    content = optimizer_file.read_bytes()
    path = tmp_path / "run.json"
    path.write_bytes(change(content))
    loaded = load_or_refuse(lambda: TwoStepConstrainedBO.load(path), path)
    if loaded is not None:
        loaded.save(path)
        assert path.read_bytes() == content


@given(data=st.data(), value=HOSTILE, how=st.sampled_from(["replace", "drop", "add"]))
@cases(30, 2500)
def test_an_optimizer_made_on_purpose_loads_or_is_refused(
    optimizer_file, tmp_path, data, value, how
):
    content = json.loads(optimizer_file.read_text())
    place = data.draw(st.sampled_from([p for p in places(content) if p]))
    whole = altered(content, place, value, how)
    if place[0] != "checksum":
        whole = with_checksum(whole)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(whole))
    loaded = load_or_refuse(lambda: TwoStepConstrainedBO.load(path), path)
    if loaded is not None:
        assert loaded.y_.shape == (len(loaded.X_), 1 + loaded.n_constraints)
        loaded.save(path)  # what was taken in can be written


@given(change=damage())
@cases(20, 1000)
def test_a_checkpoint_that_was_damaged_is_refused(tmp_path, change):
    import torch

    checkpoint = Checkpoint(tmp_path, "run")
    tensors = {"now.a": torch.arange(12.0), "best.a": torch.ones(3, 4)}
    checkpoint.save(tensors, {"step": 3, "history": [0.5], "best_key": [1, 2], "best_epoch": 1})
    content = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(change(content))
    load_or_refuse(checkpoint.load, checkpoint.path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "9" * 5000, '{"a":' * 9000, "\ufeff{}", "", "null"]
)
def test_odd_json_is_refused_by_name(router_folder, tmp_path, text):
    target = put(router_folder, tmp_path, router_json=text.encode())
    path = target / "router.json"
    assert load_or_refuse(lambda: LookaheadRouter.from_pretrained(target), path) is None
    assert load_or_refuse(lambda: TwoStepConstrainedBO.load(path), path) is None


@pytest.mark.parametrize("version", [0, 2, 99, -1, "1", None, 1.5, [1]])
def test_another_format_version_is_told(router_folder, optimizer_file, tmp_path, version):
    content = json.loads((router_folder / "router.json").read_text())
    later = {**content, "version": version, "what_is_new": 1}  # without this version's checksum
    target = put(router_folder, tmp_path, router_json=json.dumps(later).encode())
    with pytest.raises(ValueError, match=r"of format version 6; got .*router\.json"):
        LookaheadRouter.from_pretrained(target)
    content = json.loads(optimizer_file.read_text())
    (tmp_path / "run.json").write_text(json.dumps({**content, "version": version, "new": 1}))
    with pytest.raises(ValueError, match=r"of format version 6; got .*run\.json"):
        TwoStepConstrainedBO.load(tmp_path / "run.json")


def test_files_without_a_checksum_still_load(router_folder, optimizer_file, tmp_path):
    content = json.loads((router_folder / "router.json").read_text())
    del content["checksum"]
    target = put(router_folder, tmp_path, router_json=json.dumps(content).encode())
    LookaheadRouter.from_pretrained(target)
    content = json.loads(optimizer_file.read_text())
    del content["checksum"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    TwoStepConstrainedBO.load(tmp_path / "run.json")


def test_what_watches_over_loading_hears_a_process():
    import subprocess
    import sys

    with pytest.raises(AssertionError), WATCH:
        subprocess.run([sys.executable, "-c", ""], check=True)
