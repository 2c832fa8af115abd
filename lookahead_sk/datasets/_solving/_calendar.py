"""Weekdays, shifted dates and clock times: prompts, truths and skills.

The truths come from the standard library's proleptic Gregorian calendar; the skills count days
themselves, each with its own idea of a leap year.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from functools import cache

import numpy as np

from lookahead_sk.datasets._solving._answers import UNKNOWN, Answer, final_answer, pick

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

Day = tuple[int, int, int]  # year, month, day


def _write_date(rng: np.random.RandomState, day: date) -> str:
    style = rng.randint(4)
    month = MONTHS[day.month - 1]
    if style == 0:
        return day.isoformat()
    if style == 1:
        return f"{month} {day.day}, {day.year}"
    return f"{day.day} {month} {day.year}"


def read_dates(text: str, *, iso: str | None = "ymd") -> list[Day]:
    """Every date in a text, in order of appearance.

    Dates such as 2031-03-14 are read as year, month, day ("ymd"), as year, day, month where that
    can be ("ydm"), or not at all (None).
    """
    months = "|".join(MONTHS)
    pattern = (
        rf"(?P<d1>\d{{1,2}}) (?P<m1>{months}) (?P<y1>\d{{4}})"
        rf"|(?P<m2>{months}) (?P<d2>\d{{1,2}}), (?P<y2>\d{{4}})"
    )
    if iso is not None:
        pattern += r"|(?P<y3>\d{4})-(?P<m3>\d{2})-(?P<d3>\d{2})"
    days = []
    for match in re.finditer(pattern, text):
        parts = {name[0]: part for name, part in match.groupdict().items() if part}
        month = int(parts["m"]) if parts["m"].isdigit() else MONTHS.index(parts["m"]) + 1
        of_month = int(parts["d"])
        if iso == "ydm" and match.group("y3") and of_month <= 12:
            month, of_month = of_month, month
        days.append((int(parts["y"]), month, of_month))
    return days


# Skills: counting days under a rule for leap years


def is_leap(year: int, rule: str) -> bool:
    """Whether a year has 366 days: "gregorian", "every_fourth", or "never"."""
    if rule == "never":
        return False
    by_four = year % 4 == 0
    return by_four if rule == "every_fourth" else by_four and (year % 100 != 0 or year % 400 == 0)


def _month_days(year: int, month: int, rule: str) -> int:
    if rule == "thirty":
        return 30
    return 29 if month == 2 and is_leap(year, rule) else _MONTH_DAYS[month - 1]


@cache
def _year_days(year: int, rule: str) -> int:
    return sum(_month_days(year, month, rule) for month in range(1, 13))


def count_days(day: Day, rule: str) -> int:
    """Days from 1 January 2000, by walking through whole years and months."""
    year, month, of_month = day
    total = sum(_year_days(passed, rule) for passed in range(2000, year))
    total -= sum(_year_days(passed, rule) for passed in range(year, 2000))
    return total + sum(_month_days(year, m, rule) for m in range(1, month)) + of_month - 1


def _walk(day: Day, n_days: int, rule: str) -> tuple[Day, list[str]]:
    """The day ``n_days`` later (or earlier), month by month, and what was passed on the way."""
    (year, month, of_month), passed = day, []
    of_month += n_days
    while of_month > _month_days(year, month, rule):
        of_month -= _month_days(year, month, rule)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        passed.append(f"{MONTHS[month - 1]} {year} begins with {of_month} days left to count.")
    while of_month < 1:
        year, month = (year - 1, 12) if month == 1 else (year, month - 1)
        of_month += _month_days(year, month, rule)
        passed.append(f"Back in {MONTHS[month - 1]} {year}, at its day {of_month}.")
    return (year, month, of_month), passed


# Weekdays

_ASK_WEEKDAY = (
    "What day of the week is {}?",
    "Which weekday falls on {}?",
    "On what day of the week does {} fall?",
    "Tell me the weekday of {}.",
)


def draw_weekday(rng: np.random.RandomState) -> tuple[str, str]:
    """A date between 1890 and 2119, most often near the present."""
    first, last = pick(rng, ((1990, 2035), (1990, 2035), (1890, 2120)))
    day = date(first, 1, 1) + timedelta(days=int(rng.randint(365 * (last - first))))
    return pick(rng, _ASK_WEEKDAY).format(_write_date(rng, day)), WEEKDAYS[day.weekday()]


def solve_weekday(
    prompt: str,
    *,
    rule: str = "gregorian",
    iso: str | None = "ymd",
    years: tuple[int, int] = (0, 9999),
    january_slip: bool = False,
) -> Answer:
    """Count days from Saturday, 1 January 2000.

    Parameters
    ----------
    prompt : str
        The text.
    rule : {"gregorian", "every_fourth", "never", "thirty"}, default="gregorian"
        The idea of a year's length.
    iso : {"ymd", "ydm", None}, default="ymd"
        How dates such as 2031-03-14 are read, see `read_dates`.
    years : tuple of (int, int), default=(0, 9999)
        First and last year answered without doubt.
    january_slip : bool, default=False
        Count the leap day of a leap year already in its January and February.

    Returns
    -------
    Answer
        The weekday.
    """
    days = read_dates(prompt, iso=iso)
    if not days:
        return UNKNOWN
    year, month, _ = days[0]
    count = count_days(days[0], rule)
    if january_slip and month <= 2 and is_leap(year, rule):
        count += 1
    name = WEEKDAYS[(count + 5) % 7]
    working = (
        "1 January 2000 was a Saturday.",
        f"The date is {count} days away from it.",
        f"{count} days leave {count % 7} after whole weeks.",
    )
    return Answer(name, working, not years[0] <= year <= years[1])


# Shifted dates

_ASK_SHIFT = (
    "What date is {n} {unit} {way} {day}?",
    "Which date comes {n} {unit} {way} {day}?",
    "Give the date {n} {unit} {way} {day}.",
)


def draw_date_shift(rng: np.random.RandomState) -> tuple[str, Day]:
    """A date moved by days or weeks, forwards or back."""
    first, last = pick(rng, ((1995, 2035), (1995, 2035), (1895, 1905), (2095, 2105)))
    day = date(first, 1, 1) + timedelta(days=int(rng.randint(365 * (last - first))))
    unit, scale = pick(rng, (("days", 1), ("days", 1), ("weeks", 7)))
    n = int(rng.randint(2, pick(rng, (25, 120, 800)) // scale + 3))
    way, sign = pick(rng, (("after", 1), ("after", 1), ("before", -1)))
    shifted = day + timedelta(days=sign * scale * n)
    prompt = pick(rng, _ASK_SHIFT).format(n=n, unit=unit, way=way, day=_write_date(rng, day))
    return prompt, (shifted.year, shifted.month, shifted.day)


def solve_date_shift(
    prompt: str,
    *,
    rule: str = "gregorian",
    iso: str | None = "ymd",
    backwards: bool = True,
    inclusive_back: bool = False,
    max_days: int = 10**6,
    years: tuple[int, int] = (0, 9999),
) -> Answer:
    """Walk from the date by the number of days or weeks, month by month.

    Parameters
    ----------
    prompt : str
        The text.
    rule, iso, years : object
        As in `solve_weekday`.
    backwards : bool, default=True
        Understand "before"; otherwise every walk goes forwards.
    inclusive_back : bool, default=False
        Count the first day as one of the days of a walk back.
    max_days : int, default=1000000
        Longer walks are answered with doubt.

    Returns
    -------
    Answer
        The date as day, month, year.
    """
    days = read_dates(prompt, iso=iso)
    shift = re.search(r"(\d+) (days|weeks)", prompt)
    if not days or shift is None:
        return UNKNOWN
    n_days = int(shift.group(1)) * (7 if shift.group(2) == "weeks" else 1)
    doubt = n_days > max_days or not years[0] <= days[0][0] <= years[1]
    if " before " in prompt and backwards:
        n_days = -n_days + inclusive_back
    (year, month, of_month), passed = _walk(days[0], n_days, rule)
    return Answer(f"{of_month} {MONTHS[month - 1]} {year}", tuple(passed), doubt)


def grade_date(text: str, truth: Day) -> float:
    """1 for the right date in any of the usual forms, 1/4 if only the month is right, else 0."""
    days = read_dates(final_answer(text) or "")
    if not days:
        return 0.0
    return 1.0 if days[0] == truth else 0.25 * (days[0][:2] == truth[:2])


# Clock times

_ASK_CLOCK = (
    "It is {start}. What time will it be in {span}?",
    "A train leaves at {start} and travels for {span}. When does it arrive?",
    "The film starts at {start} and lasts {span}. At what time does it end?",
)


def _write_time(time: datetime, twelve: bool) -> str:
    return time.strftime("%I:%M %p").lstrip("0").lower() if twelve else time.strftime("%H:%M")


def draw_clock(rng: np.random.RandomState) -> tuple[str, int]:
    """A time of day and a span; the truth is in minutes after midnight."""
    start = datetime(2001, 1, 1, int(rng.randint(24)), 5 * int(rng.randint(12)))
    span = timedelta(minutes=5 * int(rng.randint(2, pick(rng, (24, 100, 250)))))
    hours, minutes = divmod(int(span.total_seconds()) // 60, 60)
    parts = [f"{hours} hours"] * (hours > 0) + [f"{minutes} minutes"] * (minutes > 0)
    end = start + span
    prompt = pick(rng, _ASK_CLOCK).format(
        start=_write_time(start, bool(rng.randint(2))), span=" and ".join(parts)
    )
    return prompt, end.hour * 60 + end.minute


def _read_time(text: str, noon: bool = True) -> int | None:
    """Minutes after midnight of the first time in a text; without ``noon``, 12 am is 12:00."""
    match = re.search(r"\b(\d{1,2}):(\d{2})(?: ?([ap]m))?", text)
    if match is None or int(match.group(2)) > 59:
        return None
    hours, half = int(match.group(1)), match.group(3)
    if half and noon:
        hours %= 12
    return (hours + (12 if half == "pm" else 0)) * 60 + int(match.group(2))


def solve_clock(
    prompt: str,
    *,
    noon: bool = True,
    carry: bool = True,
    wrap: bool = True,
    nearest: int = 1,
    max_hours: int = 99,
) -> Answer:
    """Add a span to a time of day.

    Parameters
    ----------
    prompt : str
        The text.
    noon : bool, default=True
        Know that 12 am is midnight and 12 pm noon; otherwise 12 pm is 24:00.
    carry : bool, default=True
        Carry sixty minutes into the hours.
    wrap : bool, default=True
        Begin a new day at 24:00; otherwise stop there.
    nearest : int, default=1
        The answer is rounded to so many minutes.
    max_hours : int, default=99
        Longer spans are answered with doubt.

    Returns
    -------
    Answer
        The time in the form of the prompt.
    """
    start = _read_time(prompt, noon)
    if start is None:
        return UNKNOWN
    found = {unit: int(n) for n, unit in re.findall(r"(\d+) (hours|minutes)", prompt)}
    hours, minutes = found.get("hours", 0), found.get("minutes", 0)
    total = start + hours * 60 + minutes
    if not carry and start % 60 + minutes >= 60:
        total -= 60
    total = total % 1440 if wrap else min(total, 1439)
    total = nearest * round(total / nearest) % 1440
    twelve = re.search(r"\d ?[ap]m", prompt) is not None
    text = _write_time(datetime(2001, 1, 1, total // 60, total % 60), twelve)
    working = (f"{hours} hours and {minutes} minutes are added.",)
    return Answer(text, working, hours > max_hours)


def grade_clock(text: str, truth: int) -> float:
    """1 for the right time, 1/2 if only the half of the day is wrong, else 0."""
    minutes = _read_time(final_answer(text) or "")
    if minutes is None:
        return 0.0
    return 1.0 if minutes == truth else 0.5 * (minutes % 720 == truth % 720)
