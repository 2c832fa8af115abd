"""Fitted state as JSON and named arrays, and back; only the types listed here can be read.

Nothing is ever imported or called by a name that stands in a file: an unknown type is refused.
"""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

from lookahead_sk._token_price import TokenPrice
from lookahead_sk._validation import reject
from lookahead_sk.routing._answer_judge import AnswerJudge
from lookahead_sk.routing._features._lexical import LexicalFeatures, new_vectorizer
from lookahead_sk.routing._features._reference_responses import ReferenceResponses
from lookahead_sk.routing._features._response_descriptors import ResponseDescriptors
from lookahead_sk.routing._local_average._clusters import Clusters
from lookahead_sk.routing._local_average._mixture import Mixture
from lookahead_sk.routing._local_average._neighbors import Neighbors
from lookahead_sk.routing._novelty import Novelty
from lookahead_sk.routing._predictor import AddedModel, ModelUpdates, Predictor

Arrays = dict[str, npt.NDArray[Any]]


def _record_types() -> dict[str, type]:
    """What may stand in a file, by name; torch and transformers load when they are needed."""
    from lookahead_sk.routing._embedding._predictor import EmbeddingPredictor, PromptFeatures
    from lookahead_sk.routing._language_model._predictor import LanguageModelPredictor
    from lookahead_sk.routing._language_model._state import NetworkState
    from lookahead_sk.routing._language_model._tokenizer import Vocabulary
    from lookahead_sk.routing._stacked import StackedNetwork

    types = (
        *(Predictor, ModelUpdates, AddedModel, Novelty, Clusters, Neighbors, Mixture),
        *(EmbeddingPredictor, PromptFeatures, LexicalFeatures, AnswerJudge),
        *(ResponseDescriptors, ReferenceResponses),
        *(LanguageModelPredictor, NetworkState, StackedNetwork, Vocabulary, TokenPrice),
    )
    return {cls.__name__: cls for cls in types}


def encode_value(value: Any, name: str, arrays: Arrays) -> Any:
    """A value as JSON; its arrays are put into ``arrays`` under names that begin with ``name``.

    Raises
    ------
    ValueError
        If it holds something that cannot be written.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return encode_value(value.item(), name, arrays)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):  # a fraction, say
        return float(value)
    if isinstance(value, np.ndarray):
        return _encode_array(value, name, arrays)
    if isinstance(value, list | tuple):
        items = [encode_value(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
        return {"kind": type(value).__name__, "items": items}
    if isinstance(value, dict):
        pairs = [
            [encode_value(k, name, arrays), encode_value(v, f"{name}.{k}", arrays)]
            for k, v in value.items()
        ]
        return {"kind": "dict", "items": pairs}
    if isinstance(value, TfidfVectorizer):
        words = sorted(value.vocabulary_, key=value.vocabulary_.__getitem__)
        return {"kind": "tfidf", "words": words, "idf": encode_value(value.idf_, name, arrays)}
    if type(value).__name__ in _record_types():
        fields = {
            field.name: encode_value(getattr(value, field.name), f"{name}.{field.name}", arrays)
            for field in dataclasses.fields(value)
            if not field.name.startswith("_")
        }
        return {"kind": type(value).__name__, "fields": fields}
    return reject(name, "numbers, text, arrays or lists of these, to be saved", value)


def _encode_array(value: npt.NDArray[Any], name: str, arrays: Arrays) -> Any:
    if value.dtype.kind in "biuf":
        arrays[name] = np.ascontiguousarray(value)
        return {"kind": "array", "name": name}
    dtype = "object" if value.dtype.kind == "O" else str(value.dtype)
    cells = [encode_value(cell, f"{name}.{i}", arrays) for i, cell in enumerate(value.ravel())]
    return {"kind": "cells", "dtype": dtype, "shape": list(value.shape), "items": cells}


def decode_value(data: Any, arrays: Arrays) -> Any:
    """The value that `encode_value` wrote."""
    if not isinstance(data, dict):
        return data
    kind = data.get("kind")
    if kind == "array":
        return arrays[data["name"]]
    if kind == "cells":
        return _decode_cells(data, arrays)
    if kind in ("list", "tuple"):
        items = [decode_value(item, arrays) for item in data["items"]]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {decode_value(k, arrays): decode_value(v, arrays) for k, v in data["items"]}
    if kind == "tfidf":
        vectorizer = new_vectorizer()
        vectorizer.vocabulary_ = {word: i for i, word in enumerate(data["words"])}
        vectorizer.idf_ = decode_value(data["idf"], arrays)
        return vectorizer
    types = _record_types()
    if kind not in types:
        reject("kind", f"one of {sorted(types)}", kind)
    fields = {key: decode_value(value, arrays) for key, value in data["fields"].items()}
    return types[kind](**fields)


def _decode_cells(data: dict[str, Any], arrays: Arrays) -> npt.NDArray[Any]:
    cells = [decode_value(cell, arrays) for cell in data["items"]]
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    if data["dtype"] != "object":
        if not str(data["dtype"]).startswith("<U"):
            reject("dtype", "'object' or one of text", data["dtype"])
        array = array.astype(np.str_)  # as wide as the longest: the file could say any number
    return array.reshape(data["shape"])
