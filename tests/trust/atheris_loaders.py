"""Coverage-guided fuzzing of what reads saved files: ``atheris_loaders.py TARGET -runs=20000``.

TARGET is ``optimizer``, ``router`` (its JSON) or ``arrays`` (its safetensors). What the fuzzer
makes is signed before it is read, so that the checksum does not stop it at the door. Loading must
end in an estimator or in an error that names the file; no process, socket or pickle may be touched.
Options after the target are libFuzzer's. Needs ``atheris``; pytest does not collect this file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lookahead_sk"]):
    from _fuzzing import load_or_refuse, save_optimizer, save_router

    from lookahead_sk import LookaheadRouter, TwoStepConstrainedBO
    from lookahead_sk._files import with_checksum
    from lookahead_sk.optimization import _optimizer, _persistence, _run_state, _space  # noqa: F401
    from lookahead_sk.routing._saving import _folder as _routing_folder

FOLDER = Path(tempfile.mkdtemp(prefix="atheris-"))
RUN, ROUTER = FOLDER / "run.json", FOLDER / "router"
LARGEST = 2**18  # bytes of an input


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


if __name__ == "__main__":
    save_optimizer(RUN)
    save_router(ROUTER)
    JSON = (ROUTER / "router.json").read_text()
    targets = {
        "optimizer": (fuzz_optimizer, RUN.read_bytes()),
        "router": (fuzz_router, JSON.encode()),
        "arrays": (fuzz_arrays, (ROUTER / "arrays.safetensors").read_bytes()),
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
