"""The example of an audit runs from a log on disk to the sentence that one can sign."""

import re
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_audit.py"


@pytest.mark.filterwarnings("ignore")  # few calls of some models
def test_the_example_ends_with_a_saving_and_a_bound_on_the_loss(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", ["plot", str(tmp_path / "picture.png")])
    code = EXAMPLE.read_text(encoding="utf-8").replace("N_CALLS = 3000", "N_CALLS = 1400")
    names = {"__name__": "example"}
    exec(compile(code, EXAMPLE, "exec"), names)
    out = capsys.readouterr().out
    saving, loss = re.search(
        r"saves (-?\d+)% .* with a quality loss of at most (-?[\d.]+), 95%\.", out
    ).groups()
    assert int(saving) > 0
    assert -1 < float(loss) < 1  # how often it is true: test_certificate.py
    assert (tmp_path / "picture.png").stat().st_size > 10_000
