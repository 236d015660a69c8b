"""What vLLM's HTTP server would answer unsteered without a word is refused with HTTP 400.

It reads ``vllm_xargs`` and no other field of ours, not even that at every address, and beam search runs requests of
its own that carry none.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Collection
from functools import wraps
from typing import Any

from sadi_lens.serving.asked import LENGTH_KEY, is_ours
from sadi_lens.serving.overflow import SAID

PROTOCOLS = {
    "vllm.entrypoints.openai.completion.protocol": "CompletionRequest",
    "vllm.entrypoints.openai.chat_completion.protocol": "ChatCompletionRequest",
    "vllm.entrypoints.openai.responses.protocol": "ResponsesRequest",
}
READ = {
    "/v1/messages": ("vllm.entrypoints.anthropic.protocol", "AnthropicMessagesRequest"),
    "/inference/v1/generate": (
        "vllm.entrypoints.scale_out.token_in_token_out.protocol",
        "GenerateRequest",
    ),
    "/v1/systemone": (
        "vllm.entrypoints.generate.structured_decisions.protocol",
        "StructuredDecisionRequest",
    ),
    "/generative_scoring": (
        "vllm.entrypoints.generate.generative_scoring.serving",
        "GenerativeScoringRequest",
    ),
    "/cohere/v2/chat": ("vllm.entrypoints.cohere.protocol", "CohereChatV2Request"),
}
"""Address whose requests do not go through a ``to_sampling_params`` of ``PROTOCOLS`` with all their fields -> the class
whose fields it reads; it drops all others."""
_MARK = "sadi_lens_looks"

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Door:
    """ASGI middleware: HTTP 400 where a request asks for steering in a field that its address drops.

    >>> from sadi_lens.serving.http import Door
    >>> door = Door(app=None)  # vLLM's own application
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Look at a request's body, then hand it on whole."""
        address = str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))
        path, name = READ.get(address, ("", ""))
        kind: Any = getattr(sys.modules.get(path), name, None)
        if scope["type"] != "http" or kind is None:
            await self.app(scope, receive, send)
            return
        parts = [await receive()]
        while parts[-1].get("more_body"):
            parts.append(await receive())
        fault = dropped(b"".join(one.get("body", b"") for one in parts), kind.model_fields, address)
        if not fault:
            waiting = iter(parts)

            async def again() -> dict[str, Any]:
                return next(waiting, None) or await receive()

            await self.app(scope, again, send)
            return
        error = {"message": fault, "type": "BadRequestError", "param": None, "code": 400}
        said = json.dumps({"error": error}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": said})


def dropped(body: bytes, fields: Collection[str], address: str) -> str:
    """Why a request would run unsteered though it asks to be steered; empty where it would not.

    Args:
        body: Of the request; what is no JSON object is left to vLLM.
        fields: Those that are read.
        address: Path of the request.
    """
    try:
        given = json.loads(body)
    except ValueError:
        return ""
    others = given.items() if isinstance(given, dict) else ()
    unread = [key for key, value in others if key not in fields and _speaks_of_us(key, value)]
    if not unread:
        return ""
    remedy = (
        'write "vllm_xargs": {"sadi": "NAME@POSITION"}'
        if "vllm_xargs" in fields
        else 'ask at /v1/completions, with "vllm_xargs": {"sadi": "NAME@POSITION"}'
    )
    return f"the request asks for steering in {unread[0]!r}, which vLLM does not read at {address}: {remedy}"


def patch_http() -> None:
    """Change the request classes that this process has loaded; there are none but in an HTTP server."""
    from vllm.exceptions import VLLMValidationError  # pyright: ignore[reportMissingImports]

    def looked_at(own: Callable[..., Any], *, steers: bool) -> Callable[..., Any]:
        @wraps(own)
        def convert(self: Any, *args: Any, **kwargs: Any) -> Any:
            is_cut = getattr(self, "truncate_prompt_tokens", None) is not None
            is_cut |= getattr(self, "truncation", None) == "auto"
            fault = fault_of(self.vllm_xargs, self.model_extra, steers=steers, is_cut=is_cut)
            if fault:
                raise VLLMValidationError(fault)
            return own(self, *args, **kwargs)

        return convert

    for path, name in PROTOCOLS.items():
        kind: Any = getattr(sys.modules.get(path), name, None)
        if kind is None or getattr(kind, _MARK, False):
            continue
        kind.to_sampling_params = looked_at(kind.to_sampling_params, steers=True)
        if hasattr(kind, "to_beam_search_params"):
            kind.to_beam_search_params = looked_at(kind.to_beam_search_params, steers=False)
        setattr(kind, _MARK, True)
    _say_what_ended()


def fault_of(xargs: Any, others: Any, *, steers: bool, is_cut: bool = False) -> str:
    """Why a request would run unsteered, or steered elsewhere, though it asks to be steered; empty where it would not.

    Args:
        xargs: Its ``vllm_xargs``.
        others: Fields that vLLM does not know.
        steers: Whether it is run in a way that is steered.
        is_cut: Whether vLLM may cut its text.
    """
    elsewhere = [key for key, value in (others or {}).items() if _speaks_of_us(key, value)]
    if elsewhere:
        return (
            f"the request asks for steering in {elsewhere[0]!r}, which vLLM does not read: write "
            '"vllm_xargs": {"sadi": "NAME@POSITION"} (extra_body of OpenAI\'s client)'
        )
    if not steers and any(is_ours(key) for key in xargs or ()):
        return "beam search cannot be steered: leave use_beam_search out, or 'sadi'"
    if is_cut and LENGTH_KEY in (xargs or ()):
        return (
            f"{LENGTH_KEY} counts from the start of the text that was sent, which may be cut here: leave "
            f"truncate_prompt_tokens (at /v1/responses truncation) out, or {LENGTH_KEY}"
        )
    return ""


def _speaks_of_us(key: str, value: Any) -> bool:
    held = list(value) if isinstance(value, dict) else []
    inner = [value[one] for one in held] if isinstance(value, dict) else []
    return is_ours(key) or any(_speaks_of_us(str(k), v) for k, v in zip(held, inner, strict=True))


def _say_what_ended() -> None:
    """VLLM calls every request that ends with an error an internal one of the server."""
    module: Any = sys.modules.get("vllm.entrypoints.generate.base.serving")
    if module is None:
        return
    for kind in list(vars(module).values()):
        if isinstance(kind, type) and "_raise_if_error" in vars(kind):

            def raise_if_error(self: Any, finish_reason: str | None, request_id: str) -> None:  # noqa: ARG001
                if finish_reason == "error":
                    raise module.GenerationError(SAID)

            kind._raise_if_error = raise_if_error  # pyright: ignore[reportAttributeAccessIssue]
