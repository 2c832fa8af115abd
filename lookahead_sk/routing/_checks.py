"""What users hand to a router, checked and brought to one form.

n prompts, K candidate models, d numbers per embedded text.

=============  =====================================================================
prompts        list of n str, or a float array (n, p) with ``encoder="passthrough"``
scores         float64 (n, K), NaN where a model was not observed
classes        the K model names, in the order of the columns
responses      object array (n, K) of str or None, or float array (n, K, d)
=============  =====================================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, validate_data

from lookahead_sk._typing import BoolArray, Float32Array, FloatArray, ObjectArray, Prompts
from lookahead_sk._validation import (
    Words,
    as_float_array,
    check_choice,
    check_seed,
    is_missing,
    reject,
)
from lookahead_sk.metrics._tables import (
    aligned,
    check_prices,
    column_names,
    columns_of,
    read_token_prices,
    refuse_records,
)
from lookahead_sk.routing._features._conversation import (
    context_characters,
    conversation_text,
    is_conversation,
)
from lookahead_sk.routing._features._sentence_encoder import check_encoder, is_passthrough

_MANY_LEVELS = 12  # more distinct integers than ratings have
LARGEST = 1e100  # squares of much larger scores overflow
LARGEST_EMBEDDED = 1e15  # the same, of embeddings in float32


class ScoreTable(NamedTuple):
    """Scores (n, K), the names of the K models, and whether they were given as 1-D labels."""

    scores: FloatArray
    classes: npt.NDArray[Any]
    is_label: bool


class FitData(NamedTuple):
    """What `fit` was given, checked."""

    prompts: Prompts
    table: ScoreTable
    responses: npt.NDArray[Any] | None
    lengths: FloatArray | None
    seed: int
    response_texts: ObjectArray | None = None  # where the responses are numbers
    cell_weight: FloatArray | None = None  # (n, K), 0 where not observed

    @property
    def texts(self) -> ObjectArray | None:
        """Texts (n, K) of the responses, None where there are none."""
        if self.responses is not None and self.responses.dtype == object:
            return self.responses
        return self.response_texts

    @property
    def score_range(self) -> tuple[float, float]:
        """Smallest and largest observed score."""
        return float(np.nanmin(self.table.scores)), float(np.nanmax(self.table.scores))

    def unit_scores(self) -> Float32Array:
        """Scores brought to [0, 1], NaN where not observed."""
        low, high = self.score_range
        return ((self.table.scores - low) / max(high - low, 1e-12)).astype(np.float32)


def check_fit_data(
    router: Any,
    X: Any,
    y: Any,
    responses: Any = None,
    response_lengths: Any = None,
    response_texts: Any = None,
    cell_weight: Any = None,
) -> FitData:
    """Check all that `fit` of a router is given, and what of its parameters speaks of models.

    Parameters
    ----------
    router : BaseRouter
        Its ``encoder`` tells whether X is text; ``costs``, ``fallback`` and ``random_state`` are
        read, and nothing is changed.
    X, y, responses, response_lengths, response_texts, cell_weight : object
        See `LookaheadRouter.fit`.

    Returns
    -------
    FitData
        All in one form.
    """
    prompts = check_X(router, X, reset=True)
    n = len(prompts)
    if n < 2:
        raise ValueError("X must hold at least 2 prompts; got n_samples=1, 1 sample.")
    table = check_scores(y, n)
    shape = (n, len(table.classes))
    responses = check_responses(aligned(responses, y, "responses"), shape, router.encoder)
    lengths = check_lengths(aligned(response_lengths, y, "response_lengths"), shape)
    if lengths is not None:
        _check_lengths_are_used(router, responses)
    texts = None
    if response_texts is not None:
        if responses is None or responses.dtype == object:
            reject("response_texts", "None unless responses are given as numbers", response_texts)
        found = aligned(response_texts, y, "response_texts")
        texts = check_text_responses(found, shape, "response_texts")
    cells = check_cell_weight(cell_weight, y, table.scores)
    names = table.classes.tolist()
    _check_costs(router, names, prompts, lengths)
    if router.fallback is not None:
        check_fallback(router.fallback, names)
    seed = int(check_seed(router.random_state).randint(2**31 - 1))
    return FitData(prompts, table, responses, lengths, seed, texts, cells)


def check_X(router: Any, X: Any, *, reset: bool) -> Prompts:
    """The prompts as a list of str, or the numeric X as float32 (n, p).

    With ``reset`` nothing is compared with an earlier fit, and nothing is remembered: that is for
    `remember_X`, at the end of a fit that has gone well.
    """
    check_encoder(router.encoder)
    if not is_passthrough(router.encoder):
        return check_prompts(X)
    dtypes = [np.float64, np.float32]
    if reset:
        array = check_array(X, dtype=dtypes, estimator=router)
    else:
        array = validate_data(router, X, reset=False, dtype=dtypes)
    with np.errstate(over="ignore"):
        array = np.asarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        reject("X", "within the range of float32", Words("larger values"))
    return array


def remember_X(router: Any, X: Any) -> None:
    """Set ``n_features_in_`` and ``feature_names_in_`` for a numeric X."""
    if is_passthrough(router.encoder):
        validate_data(router, X, reset=True, skip_check_array=True)


def _check_costs(router: Any, names: list[Any], prompts: Prompts, lengths: Any) -> None:
    """Raise for prices that do not fit the models, or that ask for what was not given."""
    check_prices(router.costs, names)
    if read_token_prices(router.costs, names) is None:
        return
    if not isinstance(prompts, list):
        reject("X", "texts where costs are TokenPrices: their tokens are counted", Words("numbers"))
    if lengths is None:
        reject("response_lengths", "given, in tokens, where costs are TokenPrices", None)


def check_cost_unit(cost_unit: Any) -> str:
    """Return what a price is for, or raise."""
    return str(check_choice(cost_unit, "cost_unit", ["call", "length"]))


def check_fallback(fallback: Any, names: list[Any]) -> int:
    """Number of the model to fall back on."""
    if check_name(fallback, "fallback") not in names:
        reject("fallback", f"None or one of {names}", fallback)
    return names.index(fallback)


def check_prompts(X: Any, name: str = "X") -> list[str]:
    """Return text input as a list of str; conversations are written as texts.

    Raises
    ------
    TypeError
        If ``X`` is a single string, or an element is not a string.
    ValueError
        If ``X`` is empty or not one-dimensional.
    """
    if isinstance(X, str | bytes):
        reject(name, "a list of strings, not a single string", X, kind=TypeError)
    if isinstance(X, Mapping | Set):
        reject(name, "a list of strings, in an order", X, kind=TypeError)
    if not hasattr(X, "__len__"):
        if not hasattr(X, "__iter__"):
            reject(name, "a list of strings", X, kind=TypeError)
        X = list(X)
    if getattr(X, "ndim", 1) != 1:
        reject(name, "one-dimensional, one string per prompt", Words(f"shape {X.shape}"))
    prompts = X.to_pylist() if hasattr(X, "to_pylist") else list(X)  # pyarrow
    if not prompts:
        raise ValueError(f"{name} must hold at least one prompt; got 0 prompts.")
    prompts = [conversation_text(each) if is_conversation(each) else each for each in prompts]
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            accepted = 'a list of strings (or encoder="passthrough" for numbers)'
            reject(name, accepted, prompt, kind=TypeError, hint=f"It stands at position {i}.")
    return [str(prompt) for prompt in prompts]


def read_context(X: Any) -> FloatArray | None:
    """Characters (n,) of every conversation but for its last message; None for plain texts."""
    listed = list(X)
    if not all(is_conversation(each) for each in listed):
        return None
    return np.array([context_characters(each) for each in listed], dtype=np.float64)


def check_scores(y: Any, n: int, columns: Sequence[Any] | None = None) -> ScoreTable:
    """Return ``y`` as a score table.

    Parameters
    ----------
    y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
        Scores, NaN where not observed, or the label of the best class of each sample.
    n : int
        Number of prompts.
    columns : sequence, optional
        Names of the models when ``y`` is an array; 0 to K - 1 when not given.

    Returns
    -------
    ScoreTable
        Scores (n, K), classes (K,) and whether ``y`` held labels.

    Raises
    ------
    ValueError
        If the shape is wrong, a value is infinite, fewer than two models are given, or a
        prompt or a model has no observed score at all.
    """
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None: "
            "y must be a score table (n, K) or 1-D labels."
        )
    refuse_records(y, "y")
    columns = column_names(y) or columns
    array = np.asarray(unmasked(y))
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind not in "fc":
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. "
            "Please change the shape of y to (n_samples,), for example using ravel().",
            DataConversionWarning,
            stacklevel=3,
        )
        array = array[:, 0]
    if array.ndim == 1:
        return _labels_as_scores(array, n)
    if array.ndim != 2:
        reject("y", "of shape (n, K) or (n,)", Words(f"shape {array.shape}"))
    scores = _as_numbers(array)
    _warn_of_ranks(array)
    if len(scores) != n:
        raise ValueError(
            f"X and y must have the same number of prompts; got {n} prompts and "
            f"y of shape {scores.shape}."
        )
    names = list(range(scores.shape[1])) if columns is None else list(columns)
    _check_observed(scores, names)
    return ScoreTable(scores, name_array(names), is_label=False)


def _warn_of_ranks(array: npt.NDArray[Any]) -> None:
    """Warn of a table that looks like scores whose columns were turned into class numbers.

    ``cross_val_predict(method="predict_proba")`` does that to every y: fits then see ranks, and NaN
    becomes the best score.
    """
    if array.dtype.kind not in "iu" or not array.size:
        return
    n_distinct = np.array([len(np.unique(column)) for column in array.T])
    is_dense = n_distinct >= 0.6 * (array.max(axis=0) + 1)
    if array.min() >= 0 and (n_distinct > _MANY_LEVELS).all() and is_dense.all():
        warnings.warn(
            f"y holds integers with {n_distinct.min()} or more levels a model, nearly all numbers "
            "from 0 on: that is how cross_val_predict(method='predict_proba') changes scores, "
            "which then mean nothing. For predictions out of fold use "
            "lookahead_sk.model_selection.cross_val_quality; if these are your scores, give them "
            "as floats.",
            UserWarning,
            stacklevel=4,
        )


def unmasked(y: Any) -> Any:
    """A score table with NaN where a masked array masks: masked is not observed."""
    if not np.ma.is_masked(y):
        return y
    if y.ndim != 2 or y.dtype.kind not in "biufO":
        reject("y", "labels, or a table of numbers, where values are masked", y)
    return y.astype(np.float64).filled(np.nan)


def _as_numbers(array: npt.NDArray[Any]) -> FloatArray:
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: y must be real; got {array.dtype}.")
    try:
        scores = np.ascontiguousarray(as_float_array(array, "y"))
    except ValueError as error:
        raise ValueError(f"y must be a table of numbers (n, K); {error}") from error
    if np.isinf(scores).any():
        row, column = np.argwhere(np.isinf(scores))[0]
        reject(
            "y",
            "finite, or NaN where a model was not observed",
            scores[row, column],
            hint=f"It stands in row {row}, column {column}.",
        )
    if (np.abs(scores) > LARGEST).any():
        reject("y", f"no larger than {LARGEST:g} in magnitude", float(np.nanmax(np.abs(scores))))
    return scores


def _check_observed(scores: FloatArray, names: list[Any]) -> None:
    n_models = scores.shape[1]
    if n_models < 2:
        reject("y", "scores of at least 2 models", Words(f"shape {scores.shape}"))
    for name in names:
        check_name(name, "y, in its columns,")
    if len(set(names)) != n_models:
        reject("y", "a table with distinct model names", names)
    observed = ~np.isnan(scores)
    if not observed.any(axis=0).all():
        model = names[int(np.argmin(observed.any(axis=0)))]
        raise ValueError(f"y must hold an observed score of every model; {model!r} has none.")
    _check_rows(observed)


def _check_rows(observed: BoolArray) -> None:
    if not observed.any(axis=1).all():
        row = int(np.argmin(observed.any(axis=1)))
        raise ValueError(f"y must hold an observed score for every prompt; row {row} has none.")


def check_new_scores(y: Any, n: int) -> FloatArray:
    """Scores (n,) of one model on all prompts."""
    array = np.asarray(y)
    if array.shape not in ((n,), (n, 1)):
        reject("y", f"of shape ({n},), one score a prompt", Words(f"shape {array.shape}"))
    scores = _as_numbers(array.reshape(n, 1))[:, 0]
    if np.isnan(scores).any() or np.ma.is_masked(y):
        row = int(np.isnan(scores).argmax())
        reject(
            "y", "observed for every prompt", Words(f"nan in row {row}"), hint="Leave these out."
        )
    return scores


def check_name(name: Any, parameter: str) -> Any:
    """The name of a model: text, a number or anything else that can be a key."""
    try:
        hash(name)
    except TypeError:
        reject(parameter, "a name, or another value that can be a key", name, kind=TypeError)
    if name is None or name != name:
        reject(parameter, "a name, or another value that can be a key", name)
    return name


def check_feedback(y: Any, n: int, classes: npt.NDArray[Any], *, knows_labels: bool) -> FloatArray:
    """Scores (n, K) of the models of a fitted router, NaN where not observed.

    Parameters
    ----------
    y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
        Scores; a DataFrame may lack models. Labels of the best model.
    n : int
        Number of prompts.
    classes : ndarray of shape (K,)
        The models.
    knows_labels : bool
        Whether the router was fitted on labels. Numbers in one dimension are labels only then: who
        numbers models may mean scores.

    Returns
    -------
    ndarray of shape (n, K)
        In the order of ``classes``.

    Raises
    ------
    ValueError
        If the shape is wrong, a model is unknown, a value is infinite, or a prompt has no score.
    """
    refuse_records(y, "y")
    names = classes.tolist()
    columns = column_names(y)
    if columns is not None:
        unknown = [name for name in columns if name not in names]
        if unknown:
            hint = f"add_model makes {unknown} candidates."
            reject("y", f"a table with columns among {names}", columns, hint=hint)
        if len(set(columns)) != len(columns):
            reject("y", "a table with distinct model names", columns)
        given, y = y, np.full((len(y), len(names)), np.nan)
        for name in columns:
            y[:, names.index(name)] = _as_numbers(given[name].to_numpy())
    array = np.asarray(unmasked(y))
    if array.ndim == 1:
        if not knows_labels and array.dtype.kind in "biuf":
            reject("y", f"scores of shape ({n}, {len(names)})", Words(f"shape {array.shape}"))
        unknown = [label for label in array.tolist() if label not in names]
        if unknown:
            reject("y", f"scores of shape ({n}, {len(names)}), or labels among {names}", unknown[0])
        array = (array[:, None] == classes).astype(np.float64)
    if array.shape != (n, len(names)):
        reject("y", f"of shape ({n}, {len(names)})", Words(f"shape {array.shape}"))
    scores = _as_numbers(array)
    _check_rows(~np.isnan(scores))
    return scores


def name_array(names: list[Any]) -> npt.NDArray[Any]:
    """Names of models: integers as such, else objects."""
    if all(isinstance(name, int | np.integer) for name in names):
        return np.array(names)
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array


def check_labels(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels (n,), none missing; integers that a nullable column holds are integers.

    Raises
    ------
    ValueError
        If a label is None, NaN or NA.
    """
    if labels.dtype.kind != "O":
        return labels
    for i, label in enumerate(labels):
        if is_missing(label):
            reject("y", "a label for every prompt", label, hint=f"It stands at position {i}.")
    is_whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in labels)
    return np.array(labels.tolist()) if is_whole else labels


def _labels_as_scores(labels: npt.NDArray[Any], n: int) -> ScoreTable:
    if len(labels) != n:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"X has {n} and y has {len(labels)}."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("Input y contains NaN or infinity: labels must be finite.")
    labels = check_labels(labels)
    with np.errstate(invalid="ignore"):  # scikit-learn asks huge labels whether they are integers
        check_classification_targets(labels)
        is_unknown = type_of_target(labels) == "unknown"
    if is_unknown:
        reject("y", "labels of one kind", labels.dtype)
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must hold labels of at least 2 classes; got 1 class, {classes[0]!r}.")
    return ScoreTable(np.eye(len(classes))[index], classes, is_label=True)


def check_responses(
    responses: Any, shape: tuple[int, int], encoder: Any
) -> npt.NDArray[Any] | None:
    """Texts (n, K) or, with ``encoder="passthrough"``, embeddings (n, K, d); None stays None."""
    if responses is None:
        return None
    if is_passthrough(encoder):
        return check_numeric_responses(responses, shape)
    return check_text_responses(responses, shape)


def check_answers(
    responses: Any, lengths: Any, names: list[Any], n: int, encoder: Any
) -> tuple[npt.NDArray[Any], FloatArray | None]:
    """Responses of some models to new prompts, (n, K) or (n, K, d), and their lengths (n, K).

    A mapping of models to their responses may lack models.
    """
    found = check_responses(_by_model(responses, names, n, "responses"), (n, len(names)), encoder)
    if found is None:
        reject("responses", "given", None)
    table = _by_model(lengths, names, n, "response_lengths")
    return found, check_lengths(table, (n, len(names)))


def _by_model(values: Any, names: list[Any], n: int, name: str) -> Any:
    """A mapping, or a frame, of models to n values each as a table (n, K); others as they are."""
    columns = column_names(values)
    if columns is not None and not _is_plain(columns, names):
        values = columns_of(values)
    if not isinstance(values, Mapping):
        return values
    unknown = [key for key in values if key not in names]
    if unknown or not values:
        reject(name, f"of models among {names}", unknown)
    rows = {key: list(value) for key, value in values.items() if not isinstance(value, str)}
    for key in values:
        if key not in rows or len(rows[key]) != n:
            got = Words(f"{len(rows[key])} of {key!r}" if key in rows else f"a text of {key!r}")
            reject(name, f"{n} for each model that has answered", got)
    width = next((np.shape(row) for each in rows.values() for row in each if np.ndim(row)), ())
    table = np.full((n, len(names), *width), np.nan if width else None, dtype=object)
    for key, column in rows.items():
        for i, value in enumerate(column):
            table[i, names.index(key)] = np.nan if width and is_missing(value) else value
    return table


def _is_plain(columns: list[Any], names: list[Any]) -> bool:
    """Whether the columns of a frame are only numbered, and the models have names."""
    return columns == list(range(len(names))) and not set(columns) <= set(names)


def n_observed(responses: npt.NDArray[Any]) -> int:
    """Number of observed responses, texts (n, K) or embeddings (n, K, d)."""
    if responses.dtype == object:
        return sum(text is not None for text in responses.ravel())
    return int((~np.isnan(responses).any(axis=2)).sum())


def check_text_responses(
    responses: Any, shape: tuple[int, int], name: str = "responses"
) -> ObjectArray:
    """Return responses as an object array (n, K) of str or None (not observed)."""
    array = np.empty(shape, dtype=object)
    rows = responses if column_names(responses) is None else np.asarray(responses)
    accepted = f"an array of strings of shape {shape}"
    if isinstance(rows, str | bytes) or not hasattr(rows, "__len__"):
        reject(name, accepted, rows, kind=TypeError)
    if len(rows) != shape[0]:
        reject(name, accepted, Words(f"{len(rows)} rows"))
    for i, row in enumerate(rows):
        if isinstance(row, str | bytes) or not hasattr(row, "__len__") or len(row) != shape[1]:
            reject(name, accepted, row, hint=f"Row {i} does not hold {shape[1]} responses.")
        for k, text in enumerate(row):
            missing = not isinstance(text, str) and is_missing(text)
            if not missing and not isinstance(text, str):
                reject(
                    name,
                    "strings, or None where not observed",
                    text,
                    kind=TypeError,
                    hint=f"It stands in row {i}, column {k}.",
                )
            array[i, k] = None if missing else str(text)
    return array


def check_numeric_responses(responses: Any, shape: tuple[int, int]) -> Float32Array:
    """Return response embeddings as a float32 array (n, K, d), NaN where not observed."""
    accepted = f'an array of numbers of shape {(*shape, "d")} with encoder="passthrough"'
    try:
        numbers = as_float_array(responses, "responses")
    except ValueError:
        reject("responses", accepted, responses)
    if numbers.ndim != 3 or numbers.shape[:2] != shape or numbers.shape[2] < 1:
        reject("responses", accepted, Words(f"shape {numbers.shape}"))
    if np.isinf(numbers).any():
        reject("responses", "finite, or NaN where not observed", Words("inf"))
    if (np.abs(numbers) > LARGEST_EMBEDDED).any():
        reject(
            "responses",
            f"no larger than {LARGEST_EMBEDDED:g} in magnitude",
            Words("larger numbers"),
        )
    return numbers.astype(np.float32)


def check_lengths(lengths: Any, shape: tuple[int, int]) -> FloatArray | None:
    """Return response lengths as a float array (n, K), NaN where not observed; None stays None."""
    if lengths is None:
        return None
    array = as_float_array(lengths, "response_lengths")
    if array.shape != shape:
        reject("response_lengths", f"an array of shape {shape}", Words(f"shape {array.shape}"))
    if (array < 0).any() or np.isinf(array).any():
        reject("response_lengths", "at least 0 and finite, or NaN", float(np.nanmin(array)))
    return array


def check_cell_weight(cell_weight: Any, y: Any, scores: FloatArray) -> FloatArray | None:
    """Weights (n, K) of the scores (n, K), 0 where these are NaN; None stays None.

    Raises
    ------
    ValueError
        If the shape is wrong, or an observed score has no weight that is positive and finite.
    """
    if cell_weight is None:
        return None
    weight = as_float_array(aligned(cell_weight, y, "cell_weight"), "cell_weight")
    if weight.shape != scores.shape:
        accepted = f"an array of shape {scores.shape}"
        reject("cell_weight", accepted, Words(f"shape {weight.shape}"))
    seen = ~np.isnan(scores)
    is_wrong = seen & ~((weight > 0) & np.isfinite(weight))
    if is_wrong.any():
        row, column = np.argwhere(is_wrong)[0].tolist()
        hint = f"It stands in row {row}, column {column}."
        accepted = "positive and finite where a score is observed"
        reject("cell_weight", accepted, float(weight[row, column]), hint=hint)
    return np.where(seen, weight, 0.0)


def _check_lengths_are_used(router: Any, responses: npt.NDArray[Any] | None) -> None:
    """Raise for lengths without responses, warn where parameters leave them out.

    Lengths are learnt together with what the responses say.
    """
    if responses is None or n_observed(responses) == 0:
        hint = "Lengths alone are not learnt from."
        reject("responses", "given where response_lengths are", None, hint=hint)
    for name in ("response_weight", "descriptor_weight"):
        if getattr(router, name, None) == 0:
            message = f"response_lengths are not learnt from: {name}=0 leaves them out."
            warnings.warn(message, UserWarning, stacklevel=4)
