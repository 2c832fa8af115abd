"""Facts about responses: read off by hand, and standardised group by group."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lookahead_sk.routing._features._response_descriptors import (
    final_answer,
    fit_descriptors,
    form_and_agreement,
    similarity_to_others,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"first \boxed{1}, no: \boxed{x^{2}}", "x^{2}"),
        ("so 3 + 4 = 7", "7"),
        ("it costs 1,250.50 in all", "1250.50"),
        ("it is -3.", "-3"),
        ("no number here", None),
        ("", None),
    ],
)
def test_the_final_answer_is_the_last_box_or_number(text, answer):
    assert final_answer(text) == answer


def test_agreement_is_the_share_of_the_others_with_the_same_answer():
    texts = np.array([["x = 4", "the answer is 4", "it is 5", None]], dtype=object)
    form, agreement = form_and_agreement(texts)
    assert_allclose(agreement[0, :3, 0], [0.5, 0.5, 0.0])
    assert np.isnan(agreement[0, 3, 0])
    assert np.isnan(form[0, 3]).all()
    assert_allclose(form[0, 0], [0, 1 / 5, 0, 0])


def test_two_texts_without_an_answer_do_not_agree():
    texts = np.array([["yes", "no"]], dtype=object)
    assert_allclose(form_and_agreement(texts)[1].ravel(), [0, 0])


def test_similarity_to_others_is_the_cosine_to_the_mean_of_the_others():
    embeddings = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]], dtype=np.float32)
    unit = embeddings[0] / np.linalg.norm(embeddings[0], axis=1, keepdims=True)
    expected = []
    for k in range(3):
        others = np.delete(unit, k, axis=0).mean(axis=0)
        expected.append(unit[k] @ others / np.linalg.norm(others))
    assert_allclose(similarity_to_others(embeddings)[0, :, 0], expected, rtol=1e-5)


def test_every_group_of_facts_has_the_same_variance():
    rng = np.random.RandomState(0)
    n, n_models = 400, 3
    embeddings = rng.randn(n, n_models, 24).astype(np.float32)
    texts = np.array(
        [
            ["\n".join(["7" * rng.randint(1, 9)] * rng.randint(1, 9)) for _ in range(n_models)]
            for _ in range(n)
        ],
        dtype=object,
    )
    descriptors, values = fit_descriptors(embeddings, texts, None, seed=0)
    variance = values.reshape(-1, descriptors.n_descriptors).var(axis=0)
    groups = np.split(variance, [16, 17, 21])  # embedding, length, form, similarity_to_others
    assert_allclose(groups[0].sum(), 1 / 4, rtol=1e-3)
    assert_allclose(groups[1].sum(), 1 / 4, rtol=1e-3)
    assert_allclose(groups[3].sum(), 1 / 4, rtol=1e-3)
    assert_allclose(groups[2].sum(), 1 / 8, rtol=1e-3)  # no backslash, no code: two constants
    assert np.isfinite(values).all()


def test_missing_responses_stay_missing_and_shift_nothing():
    rng = np.random.RandomState(1)
    embeddings = rng.randn(50, 2, 4).astype(np.float32)
    embeddings[::3, 1] = np.nan
    lengths = np.abs(rng.randn(50, 2)) * 100
    lengths[::3, 1] = np.nan
    descriptors, values = fit_descriptors(embeddings, None, lengths, seed=0)
    assert np.isnan(values[::3, 1]).all()
    assert_allclose(np.nanmean(values, axis=0), 0, atol=1e-5)
    back = values * descriptors.scale + descriptors.mean
    assert descriptors.length_column == 4
    assert_allclose(back[0, 0, 4], np.log1p(lengths[0, 0]), rtol=1e-5)
