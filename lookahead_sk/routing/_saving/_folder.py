"""A fitted router as a folder: ``router.json``, ``arrays.safetensors`` and a model card.

No pickle and no code: a folder from someone else can be read without running what is in it.
"""

from __future__ import annotations

import hashlib
import json
import numbers
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lookahead_sk._files import SENSELESS, check_content, parse_json, sync, with_checksum
from lookahead_sk._token_price import TokenPrice
from lookahead_sk._validation import check_seed, reject
from lookahead_sk._version import __version__
from lookahead_sk.metrics._tables import by_name, check_prices, read_prices, read_token_prices
from lookahead_sk.routing._checks import check_fallback
from lookahead_sk.routing._local_average._mixture import Mixture
from lookahead_sk.routing._predictor import Predictor
from lookahead_sk.routing._saving._codec import Arrays, decode_value, encode_value
from lookahead_sk.routing._saving._model_card import model_card

FORMAT, VERSION = "lookahead_sk.router", 6
JSON_FILE, ARRAY_FILE, CARD_FILE = "router.json", "arrays.safetensors", "README.md"
KEYS = {"format", "version", "lookahead_sk", "router", "parameters", "attributes", "sha256"}
ATTRIBUTES = {"predictor_", "n_features_in_", "feature_names_in_"}
OBJECTS = ("encoder", "backbone")  # parameters that may be models; these are not written


def save_router(router: Any, folder: str | os.PathLike[str]) -> None:
    """Write a fitted router; the folder appears, or changes, only when all of it is on disk.

    Parameters
    ----------
    router : BaseLookaheadRouter
        Fitted.
    folder : path
        New, empty, or written by this function before.
    """
    target = Path(folder).resolve()  # a link stays one
    _check_target(target)
    for name in router.classes_.tolist():
        if not isinstance(name, str | numbers.Real | tuple):
            reject("y", "a table whose models have text or numbers for names, to be saved", name)
    arrays: Arrays = {}
    attributes = {k: v for k, v in vars(router).items() if k in ATTRIBUTES}
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "lookahead_sk": __version__,
        "router": _saved_class(type(router)).__name__,
        "parameters": encode_value(_parameters(router), "parameters", arrays),
        "attributes": encode_value(attributes, "attributes", arrays),
    }
    _check_saved(router, content, arrays)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write_arrays(arrays, scratch / ARRAY_FILE)
        content["sha256"] = _digest(scratch / ARRAY_FILE)
        text = json.dumps(with_checksum(content), indent=1)
        (scratch / JSON_FILE).write_text(text, encoding="utf-8")
        card = model_card(router, _saved_class(type(router)).__name__)
        (scratch / CARD_FILE).write_text(card, encoding="utf-8", errors="replace")
        scratch.chmod(0o755)  # mkdtemp makes a private folder
        for path in (*scratch.iterdir(), scratch):
            sync(path)
        _put(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_arrays(arrays: Arrays, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(arrays, path)
    except SafetensorError as error:  # a full disk, say
        raise OSError(f"{path} could not be written. ({error})") from error


def _saved_class(cls: type) -> type:
    """The router of this package that a class is, or is a subclass of."""
    from lookahead_sk import routing

    return next(base for base in cls.__mro__ if base.__name__ in routing.__all__)


def _class_to_load(cls: type, name: Any) -> Any:
    """The class of a saved router; ``cls`` where that is a subclass of it."""
    from lookahead_sk import routing

    saved = getattr(routing, name) if name in routing.__all__ else None
    if saved is None or not hasattr(saved, "from_pretrained"):
        raise ValueError(f"unknown router {name!r}")
    return cls if issubclass(cls, saved) else saved


def _parameters(router: Any) -> dict[str, Any]:
    """Parameters as plain data; a model given as an object is left out."""
    parameters: dict[str, Any] = {}
    for name, value in router.get_params(deep=False).items():
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if name in OBJECTS and not isinstance(value, str | None):
            continue
        if name == "random_state" and not isinstance(value, int | np.integer | None):
            value = None
        if name == "device":
            value = "auto"  # another machine has other devices
        if name == "costs" and value is not None:
            value = _named_prices(value, router.classes_.tolist())
        if name == "checkpoint_folder":
            value = None  # and other folders; nobody else shall choose where a fit writes
        parameters[name] = value
    return parameters


def _named_prices(costs: Any, names: list[Any]) -> dict[Any, float | TokenPrice]:
    """Prices by the names of the models, and those of models that may be added."""
    values = read_token_prices(costs, names) or read_prices(costs, names).tolist()
    prices = dict(zip(names, values, strict=True))
    for name, price in (by_name(costs, names) or {}).items():
        if name not in prices and isinstance(price, numbers.Real | TokenPrice):
            prices[name] = price if isinstance(price, TokenPrice) else float(price)
    return prices


def _check_saved(router: Any, content: dict[str, Any], arrays: Arrays) -> None:
    """Raise for what `load_router` would refuse, before anything is written."""
    read = json.loads(json.dumps(content))
    parameters = decode_value(read["parameters"], arrays)
    attributes = decode_value(read["attributes"], arrays)
    try:
        _check_decoded(_saved_class(type(router)), parameters, attributes)
    except SENSELESS as error:
        message = f"The router could not be loaded again, so it is not saved. {error}"
        raise ValueError(message) from error


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        reject("folder", "a folder, not a file", str(target))
    if target.is_dir() and any(target.iterdir()) and not (target / JSON_FILE).exists():
        reject("folder", "new, empty, or written by save_pretrained", str(target))


def _put(scratch: Path, target: Path) -> None:
    """Put a finished folder in the place of what may be there.

    No call of every system swaps two folders at once. The old one is set aside under a name that
    `_current` knows, so that a kill between the two moves loses nothing.
    """
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}{_OLD}", dir=target.parent))
        target.rename(old / "folder")
        try:
            scratch.rename(target)
        except OSError:
            (old / "folder").rename(target)
            raise
    else:
        scratch.rename(target)
    sync(target.parent)
    for old in _set_aside(target):
        shutil.rmtree(old, ignore_errors=True)


_OLD = ".old."


def _set_aside(target: Path) -> list[Path]:
    """Folders that hold what a save replaced, or was about to replace, latest last."""
    prefix = f".{target.name}{_OLD}"
    try:
        found = [path for path in target.parent.iterdir() if path.name.startswith(prefix)]
        return sorted(found, key=lambda path: path.stat().st_mtime)
    except OSError:
        return []


def _current(folder: Path) -> Path:
    """The folder, or what a save that was killed had set aside in its place."""
    if folder.exists():
        return folder
    kept = [old / "folder" for old in _set_aside(folder.resolve()) if (old / "folder").is_dir()]
    return kept[-1] if kept else folder


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_router(cls: Any, folder: str | os.PathLike[str], changes: dict[str, Any]) -> Any:
    """Read a router that `save_router` wrote.

    Parameters
    ----------
    cls : type
        The class that it is asked of.
    folder : path
        What was written.
    changes : dict
        Parameters that shall have other values.

    Returns
    -------
    BaseLookaheadRouter
        Fitted, of the class that was saved.

    Raises
    ------
    ValueError
        If a file is missing, damaged, or from a later version; the message names the file.
    """
    source = _current(Path(folder))
    content = _read_json(source / JSON_FILE)
    arrays = _read_arrays(source / ARRAY_FILE, content["sha256"])
    try:
        cls = _class_to_load(cls, content["router"])
        parameters = decode_value(content["parameters"], arrays)
        attributes = decode_value(content["attributes"], arrays)
        _check_decoded(cls, parameters, attributes)
    except SENSELESS as error:
        raise _damaged(source / JSON_FILE, error) from error
    known = cls().get_params(deep=False)
    if "encoder" in known and "encoder" not in parameters and "encoder" not in changes:
        accepted = "given to from_pretrained, as the router was fitted with an encoder object"
        reject("encoder", accepted, None, hint=f"It is not in {source / JSON_FILE}.")
    unknown = sorted(set(changes) - set(known))
    if unknown:
        reject("changes", f"parameters of {cls.__name__}", unknown)
    router = cls(**{**parameters, **changes})
    router._check_parameters()
    check_seed(router.random_state)
    for name, value in attributes.items():
        setattr(router, name, value)
    names = router.classes_.tolist()
    check_prices(router.costs, names)
    if router.fallback is not None:
        check_fallback(router.fallback, names)
    return router


def _check_decoded(cls: Any, parameters: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Raise one of `SENSELESS` for what no fit could have left."""
    unknown = sorted(set(parameters) - set(cls().get_params(deep=False)))
    if unknown or not attributes.keys() <= ATTRIBUTES:
        raise ValueError(f"unknown entries {unknown}")
    if "checkpoint_folder" in parameters:
        parameters["checkpoint_folder"] = None
    cls(**parameters)._check_parameters()
    check_seed(parameters.get("random_state"))
    predictor = attributes["predictor_"]
    if not isinstance(predictor, Predictor):
        raise ValueError("predictor_ is another thing")
    _check_predictor(predictor, cls)
    names = predictor.classes.tolist()
    check_prices(parameters.get("costs"), names)
    if parameters.get("fallback") is not None:
        check_fallback(parameters["fallback"], names)


def _check_predictor(predictor: Predictor, cls: Any) -> None:
    """Raise one of `SENSELESS` for a state that no fit leaves."""
    classes = predictor.classes
    wanted = [
        isinstance(predictor.network, cls._network_type),
        isinstance(classes, np.ndarray) and classes.ndim == 1 and len(classes) >= 2,
        np.shape(predictor.mean_scores) == np.shape(classes),
        np.shape(predictor.score_range) == (2,),
        isinstance(predictor.validation_losses, list),
        predictor.temperature > 0,
        0 <= predictor.blend <= 1,
        _is_sensible(predictor),
        len(predictor.updates.kept) == len(classes),
        predictor.novelty.references.ndim == 2,
        isinstance(predictor.n_prompts, numbers.Integral),
        isinstance(predictor.n_responses, numbers.Integral),
    ]
    if not all(wanted):
        raise ValueError("a state that no fit leaves")
    network: Any = predictor.network
    if hasattr(network, "frozen"):
        _check_stacked(network)


def _check_stacked(network: Any) -> None:
    """Raise one of `SENSELESS` for two networks that no fit puts side by side."""
    from lookahead_sk.routing import LookaheadRouter
    from lookahead_sk.routing._language_model._predictor import LanguageModelPredictor

    is_known = isinstance(network.language, LanguageModelPredictor)
    if not (is_known and isinstance(network.frozen, Predictor) and 0 <= network.share <= 1):
        raise ValueError("a state that no fit leaves")
    _check_predictor(network.frozen, LookaheadRouter)
    if network.frozen.network.n_models != network.language.n_models:
        raise ValueError("networks of different models side by side")


def _is_sensible(predictor: Predictor) -> bool:
    """Whether a local average, and the model that no other is rated above, can be a fit's."""
    average, best_single, network = (
        predictor.local_average,
        predictor.best_single,
        predictor.network,
    )
    sizes = set() if average is None else {member.n_models for member in average.members}
    if not isinstance(average, Mixture | None) or len(sizes) > 1:
        return False
    if best_single is None:
        return True
    if hasattr(network, "weights"):
        sizes.add(network.weights["score_latent"].shape[1])
    is_number = isinstance(best_single, numbers.Integral) and not isinstance(best_single, bool)
    return is_number and len(sizes) == 1 and 0 <= best_single < sizes.pop()


def _damaged(path: Path, reason: Any) -> ValueError:
    return ValueError(
        f"folder must be written by save_pretrained; {path} is missing or damaged. ({reason})"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if content.get("format") != FORMAT:
        raise _damaged(path, "not a router")
    if content.get("version") != VERSION:
        accepted = f"of format version {VERSION}"
        reject("folder", accepted, content.get("version"), hint=f"It stands in {path}.")
    try:
        check_content(content, KEYS)
    except ValueError as error:
        raise _damaged(path, error) from error
    return content


def _read_arrays(path: Path, digest: str) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if _digest(path) != digest:
            raise ValueError(f"its checksum is not the one in {JSON_FILE}")
        return dict(load_file(path))
    except (OSError, SafetensorError, *SENSELESS) as error:
        raise _damaged(path, error) from error
