"""What a model's provider asks for the tokens that it reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import check_float

_PER = 1e6  # tokens that a price is for
_LARGEST = float(np.finfo(float).max)


@dataclass(frozen=True, kw_only=True)
class TokenPrice:
    """Price of a model by tokens, as providers list it.

    Parameters
    ----------
    input : float
        Price of a million tokens of the prompt, for instance in US dollars; not negative.
    output : float
        Price of a million tokens of the response, in the same currency.
    cached_input : float, default=None
        Price of a million tokens of the prompt that the provider has read before; None means
        ``input``.
    characters_per_token : float, default=4.0
        By which the tokens of a prompt are counted from its text; `load_routing` tells it of logs.

    Raises
    ------
    TypeError
        If a price is not a number.
    ValueError
        If a price is negative or not finite, or there are no characters in a token.

    See Also
    --------
    LookaheadRouter : Takes token prices as ``costs``, with ``cost_unit="length"``.

    Examples
    --------
    >>> from lookahead_sk import TokenPrice
    >>> price = TokenPrice(input=3.0, output=15.0, cached_input=0.3)
    >>> price.cost(prompt_tokens=1000, completion_tokens=[200, 400]).tolist()
    [0.006, 0.009]
    """

    input: float
    output: float
    cached_input: float | None = None
    characters_per_token: float = 4.0

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input"):
            if name != "cached_input" or self.cached_input is not None:
                check_float(getattr(self, name), name, low=0, high=_LARGEST)
        check_float(self.characters_per_token, "characters_per_token", 0, _LARGEST, closed="right")

    def cost(self, prompt_tokens: Any, completion_tokens: Any, cached_tokens: Any = 0) -> Any:
        """Cost of calls.

        Parameters
        ----------
        prompt_tokens, completion_tokens : float or array-like
            Tokens of the prompt, those read from a cache included, and of the response.
        cached_tokens : float or array-like, default=0
            Tokens of the prompt that were read from a cache.

        Returns
        -------
        float or ndarray
            In the currency of the prices; NaN where a count is NaN.
        """
        cached = self.input if self.cached_input is None else self.cached_input
        read, kept = np.asarray(prompt_tokens, float), np.asarray(cached_tokens, float)
        written = np.asarray(completion_tokens, float)
        total: FloatArray = (read - kept) * self.input + kept * cached + written * self.output
        return total / _PER
