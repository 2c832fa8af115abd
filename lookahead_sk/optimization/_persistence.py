"""An optimiser's parameters and data as JSON, and back.

Floats are written with ``repr`` precision, so that a restored optimiser asks for the very same
points. No pickle: a file from someone else cannot run code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.gaussian_process import kernels as sk

from lookahead_sk._files import SENSELESS as SENSELESS
from lookahead_sk._files import check_content, parse_json, with_checksum, write_atomically
from lookahead_sk._validation import as_float_array, check_float, reject
from lookahead_sk.optimization._space import describe_bounds, restore_bounds

FORMAT = "lookahead_sk.TwoStepConstrainedBO"
VERSION = 6
_KERNELS: dict[str, type] = {
    k.__name__: k
    for k in (
        *(sk.ConstantKernel, sk.WhiteKernel, sk.DotProduct),
        *(sk.RBF, sk.Matern, sk.RationalQuadratic),
    )
}
_POWER = "Exponentiation"
_OPERATORS: dict[str, type] = {"Sum": sk.Sum, "Product": sk.Product}


def describe_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters of an optimiser as JSON."""
    described = {
        **parameters,
        "bounds": describe_bounds(parameters["bounds"]),
        "kernel": describe_kernel(parameters["kernel"]),
        "device": str(parameters["device"]),
        # Formulas cannot be written: whether there were some, so that load asks for them.
        "known_constraints": parameters["known_constraints"] is not None,
    }
    if not isinstance(parameters["random_state"], int | np.integer | None):
        described["random_state"] = None  # the seed drawn from it is part of the state
    return described


def restore_parameters(description: dict[str, Any]) -> dict[str, Any]:
    """The parameters that `describe_parameters` wrote."""
    return {
        **description,
        "bounds": restore_bounds(description["bounds"]),
        "kernel": restore_kernel(description["kernel"]),
    }


def describe_kernel(kernel: Any) -> Any:
    """A scikit-learn kernel as JSON."""
    if kernel is None:
        return None
    name = type(kernel).__name__
    if name in _OPERATORS:
        return {"kernel": name, "k1": describe_kernel(kernel.k1), "k2": describe_kernel(kernel.k2)}
    if name == _POWER:
        base = describe_kernel(kernel.kernel)
        return {"kernel": name, "base": base, "exponent": _plain(kernel.exponent)}
    parameters = {k: _plain(v) for k, v in kernel.get_params(deep=False).items()}
    return {"kernel": name, "parameters": parameters}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def restore_kernel(description: Any) -> Any:
    """The kernel that `describe_kernel` wrote."""
    if description is None:
        return None
    name = description["kernel"]
    if name in _OPERATORS:
        return _OPERATORS[name](
            restore_kernel(description["k1"]), restore_kernel(description["k2"])
        )
    if name == _POWER:
        exponent = check_float(description["exponent"], "exponent")
        return sk.Exponentiation(restore_kernel(description["base"]), exponent)
    if name not in _KERNELS:
        reject("kernel", "one of " + ", ".join(_KERNELS), name)
    parameters = {}
    for key, value in description["parameters"].items():
        is_bounds = key.endswith("_bounds") and isinstance(value, list)
        parameters[key] = (
            np.array(value)
            if is_bounds and np.ndim(value) == 2
            else (tuple(value) if is_bounds else value)
        )
    for key, value in parameters.items():
        if not (isinstance(value, str) and value == "fixed"):
            as_float_array(value, key)
    return _KERNELS[name](**parameters)


def as_json(content: dict[str, Any]) -> dict[str, Any]:
    """What a JSON file with this content would give back."""
    plain: dict[str, Any] = json.loads(json.dumps(content, default=_plain_number))
    return plain


def write(path: str | Path, content: dict[str, Any]) -> None:
    """Write a JSON file; the target only changes when all of it could be written."""
    whole = {"format": FORMAT, "version": VERSION, **content}
    text = json.dumps(with_checksum(whole), indent=1)
    write_atomically(Path(path), lambda scratch: scratch.write_text(text, encoding="utf-8"))


def _plain_number(value: Any) -> Any:
    """A numpy number among the parameters as JSON knows it."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be saved")


def read(path: str | Path) -> dict[str, Any]:
    """Read a JSON file written by `write`, or raise ``ValueError``."""
    try:
        content = parse_json(Path(path))
    except ValueError as error:
        raise damaged(path, error) from error
    if content.get("format") != FORMAT:
        raise ValueError(f"path must be a file written by TwoStepConstrainedBO.save; got {path}.")
    if content.get("version") != VERSION:
        hint = f"It stands in {path}."
        reject("path", f"a file of format version {VERSION}", content.get("version"), hint=hint)
    try:
        check_content(content, {"format", "version", "parameters", "state"})
    except ValueError as error:
        raise damaged(path, error) from error
    return content


def check_known_constraints(path: str | Path, content: dict[str, Any], given: Any) -> None:
    """Raise where a saved optimiser had known constraints and none are given again."""
    parameters = content["parameters"]
    had_some = isinstance(parameters, dict) and parameters.get("known_constraints")
    if had_some and given is None:
        hint = f"The optimiser saved in {path} had some, and a file cannot hold formulas."
        reject("known_constraints", "given to load", given, hint=hint)


def damaged(path: str | Path, reason: Any) -> ValueError:
    """The error of a file that `read` or what follows it cannot make sense of."""
    return ValueError(f"path must be a file written by save; {path} is damaged. ({reason})")
