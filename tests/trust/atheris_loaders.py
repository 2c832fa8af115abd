"""Coverage-guided fuzzing of what reads files: ``atheris_loaders.py TARGET -runs=20000``.

TARGET is ``optimizer``, ``router`` (its JSON), ``arrays`` (its safetensors), ``results`` (a file of
a search), ``table`` (a CSV file of ``cv_results_``) or ``choices`` (JSON for choices of a search
space, and values told for them). What the fuzzer makes of saved files is signed before it is read,
so that the checksum does not stop it at the door. Reading must end in what is legal or in an error
that says what is wrong; no process, socket or pickle may be touched. Options after the target are
libFuzzer's. Needs ``atheris``; pytest does not collect this file.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import atheris
import pandas as pd
from scipy.stats import randint, uniform

with atheris.instrument_imports(include=["lookahead_sk"]):
    from _fuzzing import WATCH, load_or_refuse, save_optimizer, save_router

    from lookahead_sk import LookaheadRouter, TwoStepConstrainedBO
    from lookahead_sk._files import with_checksum
    from lookahead_sk.model_selection._results_file import read_file
    from lookahead_sk.model_selection._warm_start import read_results
    from lookahead_sk.optimization import _optimizer, _persistence, _run_state, _space  # noqa: F401
    from lookahead_sk.optimization._choices import choice_from_json
    from lookahead_sk.optimization._space import make_space
    from lookahead_sk.routing._saving import _folder as _routing_folder

SPACE = make_space({"x": uniform(0, 1), "n": randint(1, 9), "k": ["a", None, True, (1, 2), 0.5]})
FOLDER = Path(tempfile.mkdtemp(prefix="atheris-"))
RUN, ROUTER, RESULTS = FOLDER / "run.json", FOLDER / "router", FOLDER / "results.jsonl"
LARGEST = 2**18  # bytes of an input
ROW = '{"params": {"x": 0.25, "n": %d, "k": %s}, "mean_test_score": 0.5, "violation": NaN}\n'
LINES = "".join(ROW % (i + 1, k) for i, k in enumerate(["null", "true", "[1, 2]", '"a"'])).encode()
CHOICES = b"""["a", null, true, 1, 0.30000000000000004, [1, "b"], {"tuple": [1]}, {"dict": []}]
["a", null, 1.0, 0.3, [1, null], {"array": [1, 2]}, {"tuple": [1, "b"]}, "1", NaN]
"""


def signed(content: bytes) -> bytes:
    """The same JSON object with a checksum that fits, if it is one."""
    try:
        value = json.loads(content.decode("utf-8"))
        return json.dumps(with_checksum(value)).encode() if isinstance(value, dict) else content
    except (ValueError, RecursionError):
        return content


def fuzz_optimizer(content: bytes) -> None:
    """An optimiser's file."""
    RUN.write_bytes(signed(content))
    load_or_refuse(lambda: TwoStepConstrainedBO.load(RUN), RUN)


def fuzz_router(content: bytes) -> None:
    """A router's JSON beside arrays that are whole."""
    (ROUTER / "router.json").write_bytes(signed(content))
    load_or_refuse(lambda: LookaheadRouter.from_pretrained(ROUTER), ROUTER / "router.json")


def fuzz_arrays(content: bytes) -> None:
    """A router's arrays, with a JSON that vouches for them."""
    path = ROUTER / "arrays.safetensors"
    path.write_bytes(content)
    whole = {**json.loads(JSON), "sha256": _routing_folder._digest(path)}
    (ROUTER / "router.json").write_text(json.dumps(with_checksum(whole)))
    load_or_refuse(lambda: LookaheadRouter.from_pretrained(ROUTER), ROUTER)


def read_or_refuse(results: Any) -> None:
    """Results of a search: those that are taken over are legal, the others are announced."""
    with warnings.catch_warnings(record=True) as heard, WATCH:
        warnings.simplefilter("always")
        try:
            read = read_results(results, SPACE, ["mean_test_score"])
        except (TypeError, ValueError) as error:
            assert "initial_results must be" in str(error)  # noqa: PT017
            return
    if not heard:
        assert repr(SPACE.canonical(read["params"])) == repr(read["params"])


def fuzz_results(content: bytes) -> None:
    """A file of results that a search goes on with."""
    RESULTS.write_bytes(content)
    found = load_or_refuse(lambda: read_file(RESULTS), RESULTS)
    whole = RESULTS.read_bytes()
    assert content.startswith(whole)
    if found is not None:
        assert whole.endswith(b"\n")  # what is appended begins a line
        read_or_refuse(found)


def fuzz_table(content: bytes) -> None:
    """A CSV file of ``cv_results_``, which makes text of its dicts."""
    try:
        table = pd.read_csv(io.BytesIO(content))
    except (ValueError, OverflowError, MemoryError):  # pandas' own
        return
    read_or_refuse(table)


def fuzz_choices(content: bytes) -> None:
    """Two lines of JSON: the choices of a variable, and values that are told for them."""
    try:
        choices, told = (json.loads(line) for line in content.splitlines())
        choices = [choice_from_json(choice) for choice in choices]
        told = [choice_from_json(value) for value in told]
    except (ValueError, TypeError, RecursionError):
        return
    try:
        space = make_space({"v": choices})
    except (TypeError, ValueError) as error:
        assert "bounds" in str(error)  # noqa: PT017
        return
    points = space.decode(space.all_points())
    assert (space.encode(points) == space.all_points()).all()
    for value in told:
        try:
            canonical = space.canonical([{"v": value}])
        except ValueError as error:
            assert "must be one of" in str(error)  # noqa: PT017
            continue
        assert any(repr(canonical) == repr([point]) for point in points)


if __name__ == "__main__":
    save_optimizer(RUN)
    save_router(ROUTER)
    JSON = (ROUTER / "router.json").read_text()
    targets = {
        "optimizer": (fuzz_optimizer, RUN.read_bytes()),
        "router": (fuzz_router, JSON.encode()),
        "arrays": (fuzz_arrays, (ROUTER / "arrays.safetensors").read_bytes()),
        "results": (fuzz_results, LINES),
        "table": (fuzz_table, pd.read_json(io.BytesIO(LINES), lines=True).to_csv().encode()),
        "choices": (fuzz_choices, CHOICES),
    }
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in targets:
        sys.exit(f"TARGET must be one of {', '.join(targets)}; got {name!r}.")
    target, whole_file = targets[name]
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    (corpus / "whole").write_bytes(whole_file)
    atheris.Setup([*sys.argv, f"-max_len={LARGEST}", str(corpus)], target)
    atheris.Fuzz()
