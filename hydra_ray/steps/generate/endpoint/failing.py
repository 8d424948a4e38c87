"""Why an attempt has no answer, by what the `openai` client raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import openai

from hydra_ray.steps.generate.base import GenerateError
from hydra_ray.steps.generate.endpoint.refusal import Refusal, read_refusal, refusal_within

# What the client raises where there is no answer; anything else is a bug.
FAILURES = (TimeoutError, openai.OpenAIError, ValueError, RecursionError)
# Causes of a connection error that no retry mends, by the names of the HTTP client's exceptions.
_WRONG_URL = ("UnsupportedProtocol", "InvalidURL", "LocalProtocolError", "TooManyRedirects")


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint refused, in its own words.

    Attributes:
        refusal: What it said.
        headers: Headers of its response.
    """

    refusal: Refusal
    headers: Mapping[str, str]


def failure_of(error: Exception, timeout_s: float) -> GenerateError | Refused:
    """Return what one of `FAILURES` says; its message may quote the key.

    Args:
        error: What the client raised.
        timeout_s: Seconds that the attempt was given.
    """
    match error:
        case TimeoutError():
            return GenerateError(f"timed out: no whole reply within {timeout_s:g} s", "timeout", transient=True)
        case openai.APIStatusError():
            return Refused(read_refusal(error.status_code, error.response.text), error.response.headers)
        case openai.APIConnectionError():
            wrong = type(error.__cause__).__name__ in _WRONG_URL
            kind, way_out = ("setting", "; check generator.base_url") if wrong else ("connection", "")
            message = f"{error} {error.__cause__ or ''}".strip()
            return GenerateError(f"{message}{way_out}", kind, transient=not wrong)
        case UnicodeEncodeError():
            return GenerateError(f"the request is not valid Unicode: {error.reason}", "refused")
        case openai.APIError() if event := refusal_within({"error": error.body}):
            # It came as one of the stream's events.
            return Refused(event, {})
    return GenerateError(f"the reply makes no sense: {error}", "malformed", transient=True)
