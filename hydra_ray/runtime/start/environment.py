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

# Whoever waits for a replica that has a place free looks again after 50 ms at most. By Serve's own half a second places
# stand empty while others wait: under three times the load 0.36 of what can be answered was, so it is 0.90
# (`benchmarks/overload.py`, two cores).
_LOOKS_SOON = {"RAY_SERVE_ROUTER_RETRY_MAX_BACKOFF_S": "0.05"}

# A node that loses its power ends no connection, and a call of its replicas would wait for as long as a step may take.
# What the other side's kernel has not acknowledged by then, a new connection included, ends so, and another replica is
# asked. How busy the other side is does not matter.
_KNOWS_DEAD_NODES = {"RAY_grpc_client_keepalive_timeout_ms": "4000"}

# What Serve's proxies answer by themselves, in the form of the rest.
_PROXY = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "hydra_ray.serve.http.proxy:middleware"}

# By its own count the C library keeps memory apart for each of a replica's many threads, and goes on taking more
# (`benchmarks/soak.py`).
_MEMORY = {"MALLOC_ARENA_MAX": "2"}

# Of every node of a cluster that serves.
SERVING = {**_PROXY, **_LOOKS_SOON, **_KNOWS_DEAD_NODES, **CALLS_BY_GRPC, **_MEMORY}

# RAY_AUTH_MODE stays unset on purpose: Ray then makes a token of its own and turns strangers away.
# Set to "token", it would want one that exists already.
OF_A_CLUSTER = {**_QUIET, **SERVING}
