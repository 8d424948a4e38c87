"""What every request passes before its route: who asks, and may they do this? A new route cannot forget it."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from hydra_ray.serve.http.errors import RequestError, as_response, store_down
from hydra_ray.serve.http.principal import Authenticate, Caller
from hydra_ray.store.types import StoreError

# Answered to anybody.
OPEN = ("/healthz", "/readyz")
# The scopes of which paths below these want one. All others want `admin`; to callers without it there is nothing there.
SCOPE_OF = {
    "/v1/chat": ("chat",),
    "/v1/models": ("chat",),
    # Who may ask may say how good the answer was.
    "/v1/feedback": ("chat", "users"),
    "/v1/users": ("users",),
    "/v1/admin": ("admin",),
}


class Guard:
    """Lets requests through whose caller may make them; routes find the caller in `request.state.caller`.

    Args:
        app: What is guarded.
        authenticate: Decides who a request is from.
    """

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app, self._authenticate = app, authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        path = scope.get("path", "").removeprefix(scope.get("root_path", "").rstrip("/"))
        if scope["type"] != "http" or path in OPEN:
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._checked(scope, path)
        except RequestError as error:
            await as_response(error)(scope, receive, send)
            return
        except StoreError as error:
            await store_down(scope["method"], scope["path"], error)(scope, receive, send)
            return
        state = {**scope.get("state", {}), "caller": caller, "headers": {}}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(state["headers"])
            await send(message)

        await self._app({**scope, "state": state}, receive, with_headers)

    async def _checked(self, scope: Scope, path: str) -> Caller:
        client = scope.get("client")
        caller = await self._authenticate(Headers(scope=scope), client[0] if client else None)
        wanted = next(
            (names for below, names in SCOPE_OF.items() if path == below or path.startswith(f"{below}/")), None
        )
        if wanted is None and "admin" not in caller.scopes:
            raise RequestError(f"there is no {scope['method']} {path}", code="unknown_url", status=404)
        if wanted is not None and caller.scopes.isdisjoint(wanted):
            named = " or ".join(map(repr, wanted))
            raise RequestError(f"this key has no scope {named}", code="missing_scope", status=403)
        return caller
