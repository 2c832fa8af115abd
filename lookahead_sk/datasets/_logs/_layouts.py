"""From the rows of a log to its calls, one for each prompt and model.

========  =====================================================================================
long      a row is a call: prompt, model, score, and what else is known of it
wide      a row is a prompt; ``<model>`` or ``score|<model>`` is a score, ``<model>|total_cost``,
          ``<model>|model_response`` and so on say more
nested    a row is a prompt; a cell maps models to values (``scores``: {model: score}), or the
          cell of a model maps fields to values (``<model>``: {score: ..., num_input_tokens: ...})
========  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lookahead_sk._validation import check_choice, reject
from lookahead_sk.datasets._logs._cells import is_empty, read_amount, read_number, read_unit
from lookahead_sk.datasets._logs._files import Row

# Names under which fields are found where `columns` does not name them, the first one first.
ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "query", "question", "instruction", "origin_query"),
    "group": ("group", "benchmark", "dataset", "task_name", "eval_name", "dataset_name"),
    "model": ("model", "model_name"),
    "score": ("score", "performance", "quality", "rating", "reward", "label"),
    "response": ("response", "model_response", "prediction", "answer", "output"),
    "cost": ("cost", "total_cost"),
    "cost_unit": ("cost_unit", "currency"),
    "prompt_tokens": ("prompt_tokens", "num_input_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "num_output_tokens", "output_tokens"),
    "propensity": ("propensity",),
}
_PLURALS = {"scores": "score", "responses": "response", "costs": "cost"}
# Fields of a call, in place of those of a prompt.
_OF_CALLS = [name for name in ALIASES if name not in ("prompt", "group", "model", "cost_unit")]


class Call(NamedTuple):
    """A prompt, a model, and what is known of the answer; NaN, None and "" where nothing is."""

    row: int
    prompt: Any
    group: Any
    model: str
    score: float
    response: str | None
    cost: float
    unit: str
    prompt_tokens: float
    completion_tokens: float
    propensity: float

    @property
    def is_seen(self) -> bool:
        """Whether anything says that the model was called."""
        numbers = (self.score, self.cost, self.prompt_tokens, self.completion_tokens)
        return self.response is not None or any(number == number for number in numbers)


class Preset(NamedTuple):
    """A published form: its layout, and the columns that are not found by their names."""

    layout: str
    columns: dict[str, str]
    marks: tuple[str, ...]  # columns by which it is known


PRESETS = {
    "routerbench": Preset(
        "wide", {"prompt": "prompt", "group": "eval_name"}, ("prompt", "eval_name")
    ),
    "llmrouter": Preset(
        "long",
        {"prompt": "query", "group": "task_name", "score": "performance"},
        ("query", "task_name", "model_name", "performance"),
    ),
    "llmrouterbench": Preset(
        "long",
        {"prompt": "origin_query", "group": "dataset_name", "response": "prediction"},
        ("origin_query", "prediction", "model_name"),
    ),
    "embedllm": Preset("long", {"score": "label"}, ("prompt_id", "prompt", "model_name", "label")),
    "routerdc": Preset(
        "nested", {"prompt": "question", "group": "cluster_id"}, ("question", "cluster_id")
    ),
    "sprout": Preset("nested", {"prompt": "prompt", "group": "dataset"}, ()),
}


def read_calls(
    rows: Sequence[Row], layout: str, columns: Mapping[str, str], models: Sequence[str] | None
) -> tuple[list[Call], str]:
    """The calls of a log, and the layout or preset that it was read by.

    Raises
    ------
    ValueError
        If a field is missing or a cell does not fit; the message names it.
    """
    check_choice(layout, "layout", ["auto", *_LAYOUTS, *PRESETS])
    _check_columns(columns, rows[0])
    if layout == "auto":
        layout = _recognised(rows, columns)
    preset = PRESETS.get(layout, Preset(layout, {}, ()))
    missing = [name for name in preset.marks if name not in rows[0]]
    if missing:
        reject("source", f"a log with the fields {list(preset.marks)}", list(rows[0]))
    fields = _find_fields(rows[0], {**preset.columns, **columns})
    if "prompt" not in fields:
        accepted = f"one of {', '.join(ALIASES['prompt'])}, or named by columns={{'prompt': ...}}"
        reject("The column of the prompts", accepted, list(rows[0]))
    return list(_LAYOUTS[preset.layout](rows, fields, models)), layout


def _check_columns(columns: Mapping[str, str], row: Row) -> None:
    for field, column in columns.items():
        check_choice(field, "columns", ALIASES)
        if column not in row:
            reject(f"columns[{field!r}]", f"one of {list(row)}", column)


def _find_fields(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    """Column of every field that a row has."""
    fields = {}
    for field, names in ALIASES.items():
        known = [columns[field]] if field in columns else names
        found = [name for name in known if name in row]
        if found:
            fields[field] = found[0]
    return fields


def _recognised(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    row = rows[0]
    for name, preset in PRESETS.items():
        if preset.marks and all(mark in row for mark in preset.marks):
            return name
    if "model" in _find_fields(row, columns):
        return "long"
    is_nested = any(isinstance(cell, Mapping) for cell in row.values())
    return "nested" if is_nested else "wide"


def _call(row: int, common: tuple[Any, Any], model: Any, cells: Mapping[str, Any]) -> Call:
    """A call from the cells of its fields."""
    if is_empty(model):
        reject(f"The model of row {row}", "a name", model)
    where = f"of {model!r} in row {row}"
    cost, unit = read_amount(cells.get("cost"), f"The cost {where}")
    given = read_unit(cells.get("cost_unit"))
    response = cells.get("response")
    propensity = read_number(cells.get("propensity"), f"The propensity {where}")
    if not (propensity != propensity or 0 < propensity <= 1):
        reject(f"The propensity {where}", "in (0, 1], or empty", propensity)
    return Call(
        row,
        *common,
        str(model),
        read_number(cells.get("score"), f"The score {where}"),
        None if is_empty(response) else str(response),
        cost,
        "" if cost != cost else unit or given,
        read_number(cells.get("prompt_tokens"), f"The number of prompt tokens {where}"),
        read_number(cells.get("completion_tokens"), f"The number of completion tokens {where}"),
        propensity,
    )


def _common(row: Row, fields: Mapping[str, str]) -> tuple[Any, Any]:
    """Prompt and group of a row."""
    group = row.get(fields["group"]) if "group" in fields else None
    if isinstance(group, list | Mapping):
        reject(f"The column {fields['group']!r}", "one label a row", group)
    return row.get(fields["prompt"]), None if is_empty(group) else group


def _long(
    rows: Sequence[Row], fields: Mapping[str, str], models: Sequence[str] | None
) -> Iterator[Call]:
    for field in ("model", "score"):
        if field not in fields:
            accepted = f"one of {', '.join(ALIASES[field])}, or named by columns={{{field!r}: ...}}"
            reject(f"The column of the {field}s", accepted, list(rows[0]))
    for number, row in enumerate(rows):
        cells = {field: row.get(column) for field, column in fields.items()}
        if models is None or cells["model"] in models:
            yield _call(number, _common(row, fields), cells["model"], cells)


def _wide(
    rows: Sequence[Row], fields: Mapping[str, str], models: Sequence[str] | None
) -> Iterator[Call]:
    where = _wide_columns(rows, fields, models)
    for number, row in enumerate(rows):
        for model, columns in where.items():
            cells = {field: row.get(column) for field, column in columns.items()}
            call = _call(number, _common(row, fields), model, cells)
            if call.is_seen:
                yield call


def _wide_columns(
    rows: Sequence[Row], fields: Mapping[str, str], models: Sequence[str] | None
) -> dict[str, dict[str, str]]:
    """For every model the column of each of its fields."""
    names = list(rows[0])
    found: dict[str, dict[str, str]] = {}
    for column in names:
        model, field = _model_and_field(column)
        if field is not None:
            found.setdefault(model, {})[field] = column
    if not found:  # scores alone: the columns of numbers
        taken = set(fields.values())
        found = {name: {} for name in names if name not in taken and _is_numeric(rows, name)}
    for model in found if models is None else models:
        if model in names:
            found.setdefault(model, {})["score"] = model
    unknown = [model for model in models or () if model not in found]
    if unknown:
        reject("models", f"out of the columns {names}", unknown)
    return {model: found[model] for model in (models or found) if "score" in found[model]}


def _model_and_field(column: str) -> tuple[str, str | None]:
    """What ``model|field`` or ``field|model`` names; no field for another column."""
    if "|" in column:
        for model, part in (column.rsplit("|", 1), column.split("|", 1)[::-1]):
            for field in _OF_CALLS:
                if part in ALIASES[field]:
                    return model, field
    return column, None


def _is_numeric(rows: Sequence[Row], column: str) -> bool:
    cells = [row.get(column) for row in rows]
    try:
        numbers = [read_number(cell, column) for cell in cells]
    except ValueError:
        return False
    return any(number == number for number in numbers)


def _nested(
    rows: Sequence[Row], fields: Mapping[str, str], models: Sequence[str] | None
) -> Iterator[Call]:
    for number, row in enumerate(rows):
        parts = {_PLURALS.get(name, name): cell for name, cell in row.items() if _is_dict(cell)}
        tables = {field: parts[field] for field in _OF_CALLS if field in parts}
        by_model = _turned(tables) if tables else parts
        for model, cells in by_model.items():
            named = {field: cells[name] for field, name in _find_fields(cells, {}).items()}
            if models is None or model in models:
                call = _call(number, _common(row, fields), model, named)
                if call.is_seen:
                    yield call


def _is_dict(cell: Any) -> bool:
    return isinstance(cell, Mapping)


def _turned(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """{field: {model: value}} as {model: {field: value}}."""
    models = list(dict.fromkeys(model for table in tables.values() for model in table))
    return {
        model: {field: table[model] for field, table in tables.items() if model in table}
        for model in models
    }


_LAYOUTS: dict[str, Callable[..., Iterator[Call]]] = {
    "long": _long,
    "wide": _wide,
    "nested": _nested,
}
