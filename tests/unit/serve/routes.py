"""A request of every route, by method and template of the path."""

from made_app import SAID, Served

REQUESTS = {
    ("POST", "/v1/chat/completions"): {"json": {"model": "hydra", "messages": SAID[-1:], "user": "ann"}},
    ("GET", "/v1/models"): {},
    ("GET", "/v1/models/{model}"): {},
    ("POST", "/v1/feedback"): {"json": {"id": "chatcmpl-1", "rating": 1}},
    ("POST", "/v1/users/{user}/feedback"): {"json": {"input": "x", "accepted": "y"}},
    ("GET", "/v1/users/{user}/history"): {},
    ("POST", "/v1/users/{user}/history"): {"json": {"id": "new", "input": "x", "output": "y"}},
    ("DELETE", "/v1/users/{user}/history/{item}"): {},
    ("DELETE", "/v1/users/{user}"): {},
    ("GET", "/v1/users/{user}"): {},
    ("PATCH", "/v1/users/{user}"): {"json": {"personalisation": True}},
    ("GET", "/v1/users/{user}/export"): {},
    ("POST", "/v1/admin/keys"): {"json": {"scopes": ["chat"]}},
    ("GET", "/v1/admin/keys"): {},
    ("GET", "/v1/admin/keys/{key}"): {},
    ("DELETE", "/v1/admin/keys/{key}"): {},
    ("POST", "/v1/admin/keys/{key}/rotate"): {"json": {}},
    ("GET", "/v1/admin/personalisation"): {},
    ("PATCH", "/v1/admin/personalisation"): {"json": {"personalisation": True}},
}
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}


def in_document(app: Served) -> set[tuple[str, str]]:
    """Every route of the OpenAPI document."""
    paths = app.client.app.openapi()["paths"]
    return {(method.upper(), path) for path, of_path in paths.items() for method in of_path}


def request(app: Served, route, user="ann", key="k1", client=None, **names):
    """Asks a route of the app, and returns its response."""
    method, path = route
    for name, value in {"user": user, "item": "1", "model": "hydra", "key": "key_1", **names}.items():
        path = path.replace(f"{{{name}}}", value)
    more = REQUESTS[route]
    if "user" in more.get("json", {}):
        more = {"json": {**more["json"], "user": user}}
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return (client or app.client).request(method, path, headers=headers, **more)
