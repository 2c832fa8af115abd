"""Render the tables of the Results pages from the stored results.

``python docs/results/make_tables.py`` writes one file a table into ``docs/results/tables``; the
pages include these files. ``--check`` writes nothing and fails if one of them is out of date.

Results of single runs are stored in ``optimization.jsonl``, ``suites.jsonl``, ``search.jsonl``,
``search_racing.jsonl``, ``conditional.jsonl`` and ``known_constraints.jsonl``: their tables are
computed by the functions of ``benchmarks``. Other results are stored as they were printed, one CSV
file a table in ``data``; ``tables.json`` names the command that prints each of them.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BENCHMARKS = FOLDER.parent.parent / "benchmarks"
TABLES = FOLDER / "tables"
NOT_KEPT = "Measured once; the script was not kept."

OPTIMIZATION = "python benchmarks/optimization.py --tables"
SUITES = "python benchmarks/suites.py --tables"
SEARCH = "python benchmarks/search.py --tables"
RACING = f"{SEARCH} --results docs/results/search_racing.jsonl"
KNOWN = "python benchmarks/known_constraints.py --tables"
CONDITIONAL = "python benchmarks/conditional.py --tables"
PEERS = ["random", "botorch_qlogei", "botorch_logcei", "optuna_gp", "bayes_opt"]
ABLATIONS = [
    *("two_step", "two_step_eic", "two_step_any_plan", "two_step_always", "two_step_lr"),
    *("two_step_remaining", "eic", "eic_cashing_in", "eic_matern", "eic_raw", "eic_textbook"),
]
# Words that are stored or printed, and the page's own.
SHOWN = {
    "eic_cashing_in": "eic_exploit",
    "best rival": "compared with",
    "/ budget": "share of the budget",
}


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if out of date")
    arguments = parser.parse_args()
    rendered = stored_tables() | optimization_tables() | search_tables() | suites_tables()
    rendered |= conditional_tables() | known_tables()
    stale = [name for name, text in rendered.items() if text != read(name)]
    if arguments.check:
        if stale:
            sys.exit(f"out of date: {', '.join(stale)}; run {Path(__file__).name}")
        return
    TABLES.mkdir(exist_ok=True)
    for path in TABLES.glob("*.md"):
        if path.stem not in rendered:
            path.unlink()
    for name in stale:
        (TABLES / f"{name}.md").write_text(rendered[name])
        print(f"written: {name}")  # noqa: T201


def read(name: str) -> str | None:
    """Text of a table as it is stored; None if it is not there."""
    path = TABLES / f"{name}.md"
    return path.read_text() if path.exists() else None


def with_command(table: str, command: str | None) -> str:
    """Put the command that makes a table above it."""
    head = f"`{command}`" if command else NOT_KEPT
    return f"{head}\n\n{table.strip()}\n"


def stored_tables() -> dict[str, str]:
    """Tables that are stored as they were printed."""
    index = json.loads((FOLDER / "tables.json").read_text())
    rendered = {}
    for name, entry in index.items():
        with (FOLDER / entry["data"]).open(newline="") as file:
            head, *rows = csv.reader(file)
        numeric = [all(is_number(row[j]) for row in rows) for j in range(len(head))]
        lines = [head, ["---:" if right else "---" for right in numeric], *rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        rendered[name] = with_command(table, entry["command"])
    return rendered


def is_number(cell: str) -> bool:
    """Whether a cell is set flush right."""
    return not cell or cell.lstrip("+-").replace(",", "")[0].isdigit() or cell.startswith(".")


def printed(work: Callable[[], None]) -> str:
    """What a function prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        work()
    text = out.getvalue()
    for stored, shown in SHOWN.items():
        text = text.replace(stored, shown)
    return text


def optimization_tables() -> dict[str, str]:
    """Tables of the runs in ``optimization.jsonl``."""
    sys.path.insert(0, str(BENCHMARKS))
    import _tables as tables
    from _problems import PROBLEMS

    lines = (FOLDER / "optimization.jsonl").read_text().splitlines()
    runs = tables.group([json.loads(line) for line in lines if line.strip()])
    names = list(PROBLEMS)
    textbook = ["eic_textbook"]
    work: dict[str, Callable[[], None]] = {
        "gaps": lambda: tables.print_gaps(runs, names, ["two_step", "eic", *PEERS]),
        "two_step_against_eic": lambda: tables.print_paired(runs, names, "two_step", "eic"),
        "two_step_against_peers": lambda: tables.print_efficiency(runs, names, "two_step"),
        "eic_against_peers": lambda: tables.print_efficiency(runs, names, "eic"),
        "two_step_needs": lambda: tables.print_efficiency(runs, names, "two_step", textbook),
        "eic_needs": lambda: tables.print_efficiency(runs, names, "eic", textbook),
        "two_step_against_textbook": lambda: tables.print_paired(
            runs, names, "two_step", "eic_textbook"
        ),
        "ablation": lambda: tables.print_ablation(runs, names, ABLATIONS, "two_step"),
    }
    return {name: with_command(printed(table), OPTIMIZATION) for name, table in work.items()}


def search_tables() -> dict[str, str]:
    """Tables of the runs in ``search.jsonl``."""
    import search

    runs = search.load(search.RESULTS)
    text = printed(lambda: search.print_tables(runs, list(search.PROBLEMS), search.MAIN))
    problems, ranks = (part for part in text.split("\n\n") if part.lstrip().startswith("|"))
    raced = search.load(FOLDER / "search_racing.jsonl")
    text = printed(lambda: search.print_racing(raced, list(search.PROBLEMS)))
    return {
        "search_problems": with_command(problems, SEARCH),
        "search_ranks": with_command(ranks, SEARCH),
        "search_racing": with_command(text[text.index("|") :], RACING),
    }


def conditional_tables() -> dict[str, str]:
    """Tables of the runs in ``conditional.jsonl``."""
    import conditional

    runs = conditional.load(conditional.RESULTS)
    methods = list(conditional.METHODS)
    text = printed(lambda: conditional.print_tables(runs, list(conditional.PROBLEMS), methods))
    scores, differences, _ = (p for p in text.split("\n\n") if p.lstrip().startswith("|"))
    return {
        "conditional_scores": with_command(scores, CONDITIONAL),
        "conditional_differences": with_command(differences, CONDITIONAL),
    }


def known_tables() -> dict[str, str]:
    """The table of the runs in ``known_constraints.jsonl``."""
    import known_constraints as known

    text = printed(lambda: known.print_table(known.load(known.RESULTS)))
    return {"known_constraints": with_command(text, KNOWN)}


def suites_tables() -> dict[str, str]:
    """Tables of the runs in ``suites.jsonl``."""
    import suites

    rendered = {}
    records = suites.load(FOLDER / "suites.jsonl")
    for dimension in suites.BUDGETS:
        runs = suites.grouped(records, dimension)
        methods = [m for m in suites.SHOWN if runs[m]]
        if methods:
            name = f"suites_d{dimension:02d}"
            profiles = printed(functools.partial(suites.print_profiles, runs, methods))
            areas = printed(functools.partial(suites.print_areas, runs, methods))
            rendered[name] = with_command(profiles, SUITES)
            rendered[f"{name}_objectives"] = with_command(areas, SUITES)
    return rendered


if __name__ == "__main__":
    main()
