"""The truths, the skills and the grades behind make_routing, each by a route of its own."""

import re
from fractions import Fraction

import numpy as np
import pytest

from lookahead_sk.datasets._solving import _answers, _calendar, _facts, _numbers, _quantities, _text
from lookahead_sk.datasets._solving._kinds import KINDS, recognise
from lookahead_sk.datasets._solving._solvers import SOLVERS

# The skill of each kind with every weakness switched off.
FLAWLESS = {
    "lookup": _facts.solve_lookup,
    "logic": _facts.solve_logic,
    "sorting": _text.solve_sorting,
    "string_edit": _text.solve_string_edit,
    "letter_count": _text.solve_letter_count,
    "roman": _numbers.solve_roman,
    "sequence": lambda prompt: _numbers.solve_sequence(
        prompt, rules=("linear", "geometric", "fibonacci", "alternating", "quadratic")
    ),
    "date_shift": _calendar.solve_date_shift,
    "weekday": _calendar.solve_weekday,
    "clock": _calendar.solve_clock,
    "units": _quantities.solve_units,
    "word_problem": _quantities.solve_word_problem,
    "arithmetic": _numbers.solve_arithmetic,
}


def draw(kind, n, seed=0):
    rng = np.random.RandomState(seed)
    return [KINDS[kind].draw(rng) for _ in range(n)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_skill_without_weakness_reads_the_truth_out_of_every_prompt(kind):
    for prompt, truth in draw(kind, 300):
        answer = FLAWLESS[kind](prompt)
        assert not answer.doubt, prompt
        assert KINDS[kind].grade(f"The answer is {answer.final}.", truth) == 1, prompt


@pytest.mark.parametrize("kind", KINDS)
def test_every_prompt_is_recognised_as_what_it_is(kind):
    assert {recognise(prompt) for prompt, _ in draw(kind, 300, seed=1)} == {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_in_every_kind_some_prompts_are_solved_by_some_and_not_by_others(kind):
    scores = np.array(
        [
            [KINDS[kind].grade(solver.respond(prompt), truth) for solver in SOLVERS.values()]
            for prompt, truth in draw(kind, 200, seed=2)
        ]
    )
    assert scores.min() >= 0
    assert scores.max() <= 1
    by_model = scores.mean(axis=0)
    assert np.sum(by_model > 0.25) >= 3
    assert scores.max(axis=1).mean() > by_model.max() + 0.04


def test_arithmetic_truths_are_what_python_evaluates():
    for prompt, truth in draw("arithmetic", 300, seed=3):
        asks = [ask.split("{}") for ask in _numbers._ASK_VALUE]
        ((before, after),) = [
            (a, b) for a, b in asks if prompt.startswith(a) and prompt.endswith(b)
        ]
        text = _numbers.words_to_digits(prompt.removeprefix(before).removesuffix(after))
        for word, sign in (("plus", "+"), ("minus", "-"), ("divided by", "/"), ("times", "*")):
            text = text.replace(word, sign)
        expression = text.replace("×", "*").replace("÷", "/")
        assert eval(expression) == pytest.approx(float(truth), rel=1e-12), prompt


def test_weekdays_agree_with_zellers_congruence():
    for prompt, truth in draw("weekday", 300, seed=4):
        ((year, month, day),) = _calendar.read_dates(prompt)
        shifted, of_year = (month + 12, year - 1) if month < 3 else (month, year)
        century, rest = divmod(of_year, 100)
        zeller = day + 13 * (shifted + 1) // 5 + rest + rest // 4 + century // 4 + 5 * century
        assert _calendar.WEEKDAYS[(zeller + 5) % 7] == truth


def test_shifted_dates_agree_with_numpy():
    for prompt, truth in draw("date_shift", 300, seed=5):
        ((year, month, day),) = _calendar.read_dates(prompt)
        n, unit = re.search(r"(\d+) (days|weeks)", prompt).groups()
        step = np.timedelta64(int(n), "W" if unit == "weeks" else "D").astype("timedelta64[D]")
        start = np.datetime64(f"{year:04}-{month:02}-{day:02}")
        shifted = start - step if "before" in prompt else start + step
        assert str(shifted) == "{:04}-{:02}-{:02}".format(*truth)


@pytest.mark.parametrize(
    ("model", "prompt", "ending"),
    [
        ("calculator-s", "What is 2 + 3 * 4?", "20"),
        ("calculator-s", "What is 2 + (3 * 4)?", "14"),
        ("calculator-s", "What is two plus 3?", "Error."),
        ("calculator-s", "Reverse the word.", "Error."),
        ("wordsmith-m", "Compute 2 * (3 + 4).", '"10".'),
        ("generalist-xl", "Compute 1234567 + 1.", "Answer: 1234570"),
        ("estimator-xs", "Compute 123 + 456.", "Roughly 580."),
        ("cautious-m", "Compute 1 + 2 + 3 + 4 + 5.", "leave this to someone else."),
        ("cautious-m", "What date is 3 days after 27 February 2024?", "is 2 March 2024."),
        ("stepwise-l", "What date is 3 days after 27 February 2024?", "is 1 March 2024."),
        ("stepwise-l", "What is the Roman numeral IX as a number?", "is 11."),
        ("generalist-xl", 'Count the letter p in "pepper pepper".', "Answer: 4"),
        ("generalist-xl", 'Count the letter t in "kitty".', "Answer: 2"),
        ("generalist-xl", 'Count the letter s in "assessment".', "Answer: 2"),
    ],
)
def test_weaknesses_follow_from_the_text(model, prompt, ending):
    assert SOLVERS[model].respond(prompt).endswith(ending)


def test_working_that_is_too_long_costs_the_answer():
    short, long = (
        "Compute 12 + 34.",
        "Compute " + " + ".join(str(n) for n in range(1000, 1030)) + ".",
    )
    assert _answers.final_answer(SOLVERS["stepwise-l"].respond(short)) == "46"
    text = SOLVERS["stepwise-l"].respond(long)
    assert len(text) == 320
    assert _answers.final_answer(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("Roughly 1,200.", "1,200"),
        ('Sure! The answer is "abc".', "abc"),
        ("Step 1: 3\nthe final answer is 7.", "7"),
        ("The answer is 3. No, wait: the answer is 4.", "3. No, wait: the answer is 4"),
        ("Step 1: 3\nStep 2: 7", None),
        ("Half of it. Answer: 9:30 pm", "9:30 pm"),
    ],
)
def test_the_final_answer_is_what_follows_the_mark(text, answer):
    assert _answers.final_answer(text) == answer


@pytest.mark.parametrize(
    ("grade", "text", "truth", "expected"),
    [
        (_answers.grade_number, "1,024", Fraction(1024), 1),
        (_answers.grade_number, "The answer is -7.5.", Fraction(-15, 2), 1),
        (_answers.grade_number, "1025", Fraction(1024), 0),
        (_answers.grade_number, "I do not know", Fraction(0), 0),
        (_answers.grade_measure, "100.4", Fraction(100), 1),
        (_answers.grade_measure, "104", Fraction(100), 0.5),
        (_answers.grade_measure, "106", Fraction(100), 0),
        (_answers.grade_choice, "Probably tuesday.", "Tuesday", 1),
        (_answers.grade_choice, "Monday", "Tuesday", 0),
        (_answers.grade_text, "nretnal", "nretnal", 1),
        (_answers.grade_text, "nretnax", "nretnal", 3 / 7),  # 6 of 7 letters alike, halved
        (_answers.grade_text, "NRETNAL", "nretnal", 0),
        (_answers.grade_list, "1, 2, 3", ("1", "2", "3"), 1),
        (_answers.grade_list, "2, 1, 3", ("1", "2", "3"), 1 / 3),
        (_answers.grade_list, "1, 2", ("1", "2", "3"), 0),
        (_calendar.grade_date, "March 14, 2031", (2031, 3, 14), 1),
        (_calendar.grade_date, "2031-03-14", (2031, 3, 14), 1),
        (_calendar.grade_date, "15 March 2031", (2031, 3, 14), 0.25),
        (_calendar.grade_date, "14 March 2032", (2031, 3, 14), 0),
        (_calendar.grade_clock, "9:30 pm", 21 * 60 + 30, 1),
        (_calendar.grade_clock, "21:30", 21 * 60 + 30, 1),
        (_calendar.grade_clock, "9:30 am", 21 * 60 + 30, 0.5),
        (_calendar.grade_clock, "9:75 pm", 22 * 60 + 15, 0),
    ],
)
def test_grades_by_hand(grade, text, truth, expected):
    assert grade(text, truth) == pytest.approx(expected)
