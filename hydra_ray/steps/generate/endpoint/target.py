"""One endpoint: where it is, its keys, how it is, and the dialect that it speaks."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from hydra_ray.records import ChatRequest, HydraError
from hydra_ray.steps.generate.endpoint.dialect import Dialect
from hydra_ray.steps.generate.endpoint.dialect_file import DialectFile
from hydra_ray.steps.generate.endpoint.health import Health
from hydra_ray.steps.generate.endpoint.reply import Reply
from hydra_ray.steps.generate.onward import add_headers

log = logging.getLogger(__name__)

NO_KEY = "no-key-set"
# So many prompts in turn may each be refused for what is in them.
_MOST_REFUSED_ALONE = 8


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Place where the LLM is asked, and where the key for it is.

    Attributes:
        base_url: None is the client's default.
        api_key_env: Environment variable that holds the key. Local servers often need none.
        api_key_file: File that holds the key; goes before the variable, and is read again when the key is refused.
        model: The endpoint's own name of the model, if it has one.
    """

    base_url: str | None
    api_key_env: str
    api_key_file: Path | None
    model: str | None


class Target:
    """An endpoint with its client, its keys, its health and its dialect.

    Args:
        endpoint: Place of the endpoint, and of its key.
        model: Name of the model, where the endpoint has no other.
        known: File of the dialects that earlier processes learnt.
        fixed: Values of the dialect that settings say; never learnt otherwise.

    Raises:
        HydraError: The key file cannot be read, or what it holds is no key.
    """

    def __init__(self, endpoint: Endpoint, model: str, known: DialectFile, fixed: Mapping[str, Any]) -> None:
        self._endpoint = endpoint
        self.model = endpoint.model or model
        # The last one is in use; earlier ones may still turn up in errors.
        self.keys = [_read_key(endpoint)]
        self.client = AsyncOpenAI(
            api_key=self.keys[-1],
            base_url=endpoint.base_url,
            timeout=None,
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(event_hooks={"request": [add_headers]}),
        )
        self.health = Health()
        self.host = self.client.base_url.host
        self.reasons = self.tells_usage = False
        self.place = place_of(endpoint.base_url)
        self._known, self._fixed = known, dict(fixed)
        self._kept = known.get(self.place, self.model)
        self._learnt = self._confirmed = self._kept or Dialect()
        self._answered = known.answered(self.place, self.model)
        self._unproven, self._one_at_a_time = False, asyncio.Lock()
        # Prompts, since the last answer.
        self._refused = set[int]()

    @property
    def dialect(self) -> Dialect:
        """Dialect in which the endpoint is asked now."""
        return replace(self._learnt, **self._fixed)

    @property
    def learnt(self) -> Dialect:
        """The dialect as it was learnt, without what is set."""
        return self._learnt

    def has_other_key(self, known: int) -> bool:
        """Reads the key again; whether one came after the first `known`."""
        key = _read_key(self._endpoint)
        if key != self.keys[-1]:
            self.keys.append(key)
            self.client.api_key = key
        return len(self.keys) > known

    @asynccontextmanager
    async def turn(self, request: ChatRequest) -> AsyncIterator[None]:
        """For one attempt; one at a time while nobody knows whether what was learnt last is all there is to learn, or
        whether an answer can be held to a schema: of many that are asked at once one is refused.
        """
        if self._is_unproven(request):
            async with self._one_at_a_time:
                # Those before may have found out.
                if self._is_unproven(request):
                    yield
                    return
        yield

    def _is_unproven(self, request: ChatRequest) -> bool:
        known = any("response_format" in form for form in self._answered)
        return self._unproven or (self.dialect.holds(request) and not known)

    def note_end(self) -> None:
        """An attempt in the present form came to something else than a lesson."""
        self._unproven = False

    def learn(self, lessons: Mapping[str, Any], reason: str) -> frozenset[str]:
        """Asks in another form from now on; gives what of the lessons may be learnt, by name."""
        taken = {name: value for name, value in lessons.items() if name not in self._fixed}
        changed = self._learnt.changed(taken)
        if changed != self._learnt:
            what = ", ".join(f"{name}: {value}" for name, value in taken.items())
            log.warning("%s (%s) is asked in another form from now on (%s): %s", self.model, self.host, what, reason)
            if changed.temperature == "omitted" != self._learnt.temperature:
                log.warning("%s (%s) has one temperature only: its answers are never greedy", self.model, self.host)
            self._unproven = True
        self._learnt = changed
        return frozenset(f"{name}={value}" for name, value in taken.items())

    def note_answer(self, spoken: Dialect, sent: Mapping[str, Any], reply: Reply) -> None:
        """Takes that a request was answered, in what form: what was learnt holds, and is kept."""
        self._refused.clear()
        if not self.takes(sent):
            self._answered.add(frozenset(sent))
            self._known.put_answered(self.place, self.model, self._answered)
        self.reasons = self.reasons or reply.reasoned
        self.tells_usage = self.tells_usage or reply.has_usage
        if spoken != self.dialect:
            return
        self._confirmed = self._learnt
        # That nothing had to be learnt is known once several samples came of one request.
        if self._confirmed != (self._kept or Dialect()) or (self._kept is None and "n" in sent):
            self._known.put(self.place, self.model, self._confirmed)
            self._kept = self._confirmed

    def refuses_alone(self, request: ChatRequest, sent: Mapping[str, Any]) -> bool:
        """Takes that a request was refused in words that nobody knows; whether that is the request's own fault.

        Where others of the same form are answered it is; else hardly any will be. Nor will they where many prompts in
        turn are refused: an endpoint may come to want another form.
        """
        self._refused.add(hash(request.messages))
        return self.takes(sent) and len(self._refused) <= _MOST_REFUSED_ALONE

    def takes(self, sent: Mapping[str, Any]) -> bool:
        """Return whether a request of this form was answered before."""
        return frozenset(sent) in self._answered

    def forget_unconfirmed(self) -> None:
        """A request was refused all the same: what was learnt since the last answer is no use."""
        self._learnt = self._confirmed


def place_of(base_url: str | None) -> str:
    """Return the name that an endpoint's dialect is kept under: its URL, without what may be secret in it."""
    url = urlsplit(base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1")
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}"


def _read_key(endpoint: Endpoint) -> str:
    place, key = f"api_key_env: {endpoint.api_key_env}", os.environ.get(endpoint.api_key_env, "").strip() or NO_KEY
    if path := endpoint.api_key_file:
        try:
            place, key = f"api_key_file: {path}", path.read_bytes().decode("ascii", errors="replace").strip()
        except OSError as error:
            raise HydraError(f"generator.api_key_file: {path} cannot be read: {error.strerror}") from None
    # Anything else does not go into a header, and the error of that would quote it.
    if not re.fullmatch("[ -~]+", key):
        raise HydraError(f"generator.{place} holds no key: one line of ASCII letters, digits and signs")
    return key
