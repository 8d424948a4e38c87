"""Environment variables that Ray's processes start with, as far as they are not about threads."""

from __future__ import annotations

# Replicas call each other by gRPC and not through Ray's object store, which costs each call some milliseconds more.
# Ray reads this as a process that has a handle imports Serve.
CALLS_BY_GRPC = {"RAY_SERVE_USE_GRPC_BY_DEFAULT": "1"}

# Ray's own reports, and what its parts say on stderr, which tells users nothing.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_RUN_INFO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}

# What Serve's proxies answer by themselves, in the form of the rest.
_PROXY = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "hydra_ray.serve.http.proxy:middleware"}

# RAY_AUTH_MODE stays unset on purpose: Ray then makes a token of its own and turns strangers away.
# Set to "token", it would want one that exists already.
OF_A_CLUSTER = {**_QUIET, **_PROXY, **CALLS_BY_GRPC}
