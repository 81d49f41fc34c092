"""Numbers in words."""

from __future__ import annotations

import pytest

from orchestrator.report import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [(999.6, "1.00\u202fk"), (1234567, "1.23\u202fM"), (42, "42.0"), (0, "0"), (None, "–"), (float("nan"), "–")],
)
def test_short_keeps_three_digits_and_a_prefix(value: float | None, text: str) -> None:
    assert wording.short(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.91354, "0.9135"),
        (12.3456, "12.35"),
        (123456.7, "123,457"),
        (-0.5, "−0.5000"),
        (3e-5, "3.000·10⁻⁵"),
        (float("inf"), "∞"),
        (0.0, "0"),
    ],
)
def test_number_keeps_four_digits(value: float, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.001"),
        (1e-4, "10⁻⁴"),
        (2.5e-4, "2.5·10⁻⁴"),
        (3e-5, "3·10⁻⁵"),
        (0.1 + 0.2, "0.3"),
        (64, "64"),
        (True, "yes"),
        ("adam", "adam"),
        (None, "–"),
        (100.0, "100"),
    ],
)
def test_setting_is_as_short_as_it_can_be(value: object, text: str) -> None:
    assert wording.setting(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.25, "4.25\u202fs"),
        (59.99, "1\u202fmin 00\u202fs"),
        (200, "3\u202fmin 20\u202fs"),
        (7500, "2\u202fh 05\u202fmin"),
    ],
)
def test_duration_is_said_in_two_units_at_most(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_listing_is_a_sentence() -> None:
    assert wording.listing(["a", "b", "c"]) == "a, b and c"
    assert wording.listing(["a", "b"], "or") == "a or b"
    assert wording.listing([]) == "none"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test_frechet", "test Fréchet distance"),
        ("validation_roc_auc", "validation ROC AUC"),
        ("token_error_rate", "token error rate"),
        ("test_accuracy", "test accuracy"),
        ("validation_of_mine", "validation of mine"),
    ],
)
def test_a_metric_is_said_in_words(name: str, text: str) -> None:
    assert wording.metric(name) == text


def test_a_capital_leaves_other_letters_as_they_are() -> None:
    assert wording.capital("test Fréchet distance") == "Test Fréchet distance"


def test_two_digits_are_two_of_a_small_number_too() -> None:
    assert wording.number(9.6e-4, 2) == "9.6·10⁻⁴"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.9972, ">99\u202f%"), (1.0, "100\u202f%"), (0.001, "<1\u202f%"), (0, "0\u202f%"), (0.5, "50\u202f%")],
)
def test_hardly_all_and_hardly_any_are_not_said_to_be_all_and_none(share: float, text: str) -> None:
    assert wording.percent(share) == text
