"""The language model behind OpenAI's official SDK: OpenAI, Azure OpenAI, any compatible server.

Belongs here: the request, retries of transient faults inside the deadline, faults as ``ModelError``.
Does not belong here: the judgement of the text, the prompt, caching (there is none, ever).
"""

import email.utils
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import tenacity

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.deadline import Deadline, DeadlineExceededError, run_before
from wonttrade_dagster.adapters.llm_connection import Connection, endpoint_of
from wonttrade_dagster.adapters.llm_reply import Answer, decoded, reply_from
from wonttrade_dagster.adapters.redaction import Redactor
from wonttrade_dagster.core.errors import ModelUnavailableError
from wonttrade_dagster.core.model import ModelReply, Prompt
from wonttrade_dagster.core.ports import Clock, LanguageModel

if TYPE_CHECKING:
    import httpx2
    import openai

_SCHEMA_NAME = "decision"
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429})
_OUT_OF_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
# Not worth a request: nobody answers in less.
_SHORTEST_ATTEMPT_SECONDS = 0.05
_KEY_LIKE = re.compile(r"\bsk-[\w*.-]{4,}", re.ASCII)
_MAX_DETAIL_CHARS = 200


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How transient faults are retried inside the deadline; ``Retry-After`` of the server wins."""

    max_attempts: int = 4
    first_wait_seconds: float = 0.5
    max_wait_seconds: float = 8.0


@dataclass(frozen=True, kw_only=True)
class OpenAIModel(LanguageModel):
    """A chat model. What is None is not sent.

    Attributes:
        provider: ``openai`` (needs ``base_url``) or ``azure`` (needs the three ``azure_`` fields).
        model: its name on the server.
        api_key: never shown anywhere.
        base_url: including ``/v1``.
        azure_endpoint: the resource's address.
        azure_deployment: the deployment's name.
        azure_api_version: the API's version.
        temperature: reasoning models refuse it: None.
        seed: for repeatable sampling, best effort on the server's side.
        max_output_tokens: reasoning included.
        token_limit_parameter: the name under which that is sent; None chooses ``max_completion_tokens`` for
            OpenAI and Azure (reasoning models refuse the other) and ``max_tokens`` for other servers.
        reasoning_effort: for reasoning models.
        service_tier: as the server names it.
        retry: of transient faults.
        clock: for the times in the reply.
        secrets: further values that are replaced by ``[redacted]`` should the server repeat them.
        transport: for tests; the network when None.
    """

    provider: str
    model: str
    api_key: str = field(repr=False)
    base_url: str | None = None
    azure_endpoint: str | None = None
    azure_deployment: str | None = None
    azure_api_version: str | None = None
    temperature: float | None = 0.0
    seed: int | None = None
    max_output_tokens: int | None = None
    token_limit_parameter: Literal["max_completion_tokens", "max_tokens"] | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Clock = field(default_factory=SystemClock, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    transport: "httpx2.BaseTransport | None" = field(default=None, repr=False, compare=False)
    _connection: Connection = field(init=False, repr=False, compare=False)
    _server: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        azure = {
            "endpoint": self.azure_endpoint,
            "deployment": self.azure_deployment,
            "api_version": self.azure_api_version,
        }
        endpoint = endpoint_of(self.provider, self.api_key, self.base_url, azure)
        object.__setattr__(self, "_connection", Connection(endpoint, self.transport))
        object.__setattr__(self, "_server", urlsplit(endpoint.base_url).netloc.rpartition("@")[2])

    def warm_up(self) -> None:
        """Import the SDK and build the client (1-2 seconds), so that the first call need not."""
        self._connection.client()

    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        """One completion under a strict JSON schema.

        Args:
            prompt: system and user message.
            schema: strict JSON schema of the reply.
            deadline_ms: how long this call may take in all, retries included, on the wall clock.

        Raises:
            ModelUnavailableError: no answer in time, or the server refused the request.
            ModelAnswerError: an HTTP answer that is not a chat completion.
        """
        deadline = Deadline(deadline_ms / 1000)
        try:
            answer = run_before(deadline, lambda: self._ask(self._request(prompt, schema), deadline))
        except DeadlineExceededError:
            raise ModelUnavailableError(
                f"{self._server} did not finish its answer within {deadline_ms / 1000:g} s"
            ) from None
        finally:
            if deadline.abandoned.is_set():
                self._connection.cut_off()
        return self._reply(answer)

    def _reply(self, answer: Answer) -> ModelReply:
        """Without any secret that the server repeats: a reply is stored, and shown in Dagster's UI."""
        hide = Redactor((self.api_key, *self.secrets)).text
        reply = reply_from(replace(answer, body=hide(answer.body)), self._server)
        # Once more: JSON can spell a letter as an escape.
        return replace(reply, text=hide(reply.text), model=hide(reply.model))

    def _request(self, prompt: Prompt, schema: Mapping[str, Any]) -> dict[str, Any]:
        optional = {
            "temperature": self.temperature,
            "seed": self.seed,
            "reasoning_effort": self.reasoning_effort,
            "service_tier": self.service_tier,
            self._token_limit_parameter(): self.max_output_tokens,
        }
        json_schema = {"name": _SCHEMA_NAME, "strict": True, "schema": dict(schema)}
        return {
            "model": self.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            "response_format": {"type": "json_schema", "json_schema": json_schema},
            "stream": False,
        } | {name: value for name, value in optional.items() if value is not None}

    def _token_limit_parameter(self) -> str:
        if self.token_limit_parameter is not None:
            return self.token_limit_parameter
        is_openai = self.provider == "azure" or self._server.split(":")[0].endswith("openai.com")
        return "max_completion_tokens" if is_openai else "max_tokens"

    def _ask(self, request: Mapping[str, Any], deadline: Deadline) -> Answer:
        import openai  # noqa: PLC0415 (takes more than a second: only where a model is called)

        def gives_up(state: tenacity.RetryCallState) -> bool:
            too_late = state.upcoming_sleep + _SHORTEST_ATTEMPT_SECONDS >= deadline.remaining_seconds()
            return too_late or state.attempt_number >= self.retry.max_attempts

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            wait=self._wait,
            stop=gives_up,
            sleep=tenacity.sleep_using_event(deadline.abandoned),
            reraise=True,
        )
        try:
            return retrying(self._attempt, request, deadline)
        except openai.OpenAIError as error:
            # The SDK's exception holds the request with its headers: it is not chained.
            raise ModelUnavailableError(self._explain(error)) from None

    def _attempt(self, request: Mapping[str, Any], deadline: Deadline) -> Answer:
        client = self._connection.client()
        timeout = deadline.remaining_seconds()
        if timeout <= 0:  # given up while the SDK was being imported: nothing may be sent any more
            raise DeadlineExceededError
        sent_at_ms = self.clock.now_ms()
        # The raw response: the SDK's own parsing passes web pages through and fails late on other shapes.
        create: Callable[..., Any] = client.chat.completions.with_raw_response.create
        response = create(**request, timeout=timeout)
        return Answer(
            body=decoded(response.http_response.content, self._server),
            request_id=response.headers.get("x-request-id"),
            sent_at_ms=sent_at_ms,
            received_at_ms=self.clock.now_ms(),
        )

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = _retry_after_seconds(error)
        if asked is not None:
            return asked
        policy = self.retry
        backoff = tenacity.wait_exponential_jitter(
            multiplier=policy.first_wait_seconds,
            max=policy.max_wait_seconds,
            jitter=policy.first_wait_seconds,
        )
        return float(backoff(state))

    def _explain(self, error: "openai.OpenAIError") -> str:
        import openai  # noqa: PLC0415 (loaded already where an error of it exists)

        if isinstance(error, openai.APITimeoutError):
            return f"{self._server} did not answer in time"
        if isinstance(error, openai.APIStatusError):
            return self._explain_status(error)
        cause = self._clean(str(error.__cause__ or error))
        return f"{self._server} cannot be reached ({cause}): start it, or correct its address in [llm]"

    def _explain_status(self, error: "openai.APIStatusError") -> str:
        status = error.status_code
        if status in {401, 403}:  # such answers like to repeat parts of the key
            return f"{self._server} refused the API key (HTTP {status}): check [credentials]"
        if _is_out_of_credit(error):
            return f"{self._server}: the account has no credit left, retrying will not help"
        detail = self._clean(_server_message(error))
        return f"{self._server} refused the request (HTTP {status}): {detail}"

    def _clean(self, text: str) -> str:
        hidden = _KEY_LIKE.sub("[redacted]", text.replace(self.api_key, "[redacted]"))
        line = " ".join(hidden.split())
        return line if len(line) <= _MAX_DETAIL_CHARS else line[:_MAX_DETAIL_CHARS] + "…"


def _is_transient(error: BaseException) -> bool:
    import openai  # noqa: PLC0415 (loaded already where an error of it exists)

    if isinstance(error, openai.APIStatusError):
        transient = error.status_code in _TRANSIENT_STATUS or error.status_code >= 500
        return transient and not _is_out_of_credit(error)
    return isinstance(error, openai.APIConnectionError)


def _is_out_of_credit(error: "openai.APIStatusError") -> bool:
    return error.code in _OUT_OF_CREDIT or error.type in _OUT_OF_CREDIT


def _server_message(error: "openai.APIStatusError") -> str:
    body = error.body
    if isinstance(body, Mapping) and isinstance(body.get("message"), str):
        return str(body["message"])
    return "no reason given"


def _retry_after_seconds(error: BaseException | None) -> float | None:
    """What the server asked for: seconds or an HTTP date; None when it did not say."""
    response = getattr(error, "response", None)
    header = response.headers.get("retry-after") if response is not None else None
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _seconds_until(header)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _seconds_until(http_date: str) -> float:
    try:
        return email.utils.parsedate_to_datetime(http_date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan
