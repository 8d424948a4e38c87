"""Asks an application in a process whose wall clock a test sets: `clock_child.py FOLDER FILE`, libfaketime's."""

import json
import sys
import time
from pathlib import Path

JUMPS = ("+0", "+3d", "-3d", "+0")


def main(folder: str, file: Path) -> None:
    from made_app import Served

    from hydra_ray.settings import parse_settings

    limits = {"user": {"requests_per_minute": 100}}
    tree = {"out": folder, "model": {"dir": folder}, "tenant": "acme", "auth": {"mode": "off", "limits": limits}}
    app = Served(parse_settings(tree))
    began = time.time()
    for jump in JUMPS:
        file.write_text(jump)
        body = {"model": "hydra", "user": "ann", "messages": [{"role": "user", "content": "And now?"}]}
        replies = [
            app.client.post("/v1/chat/completions", json=body, headers={"X-Request-Timeout": "60"}),
            app.client.post("/v1/users/ann/feedback", json={"input": "x", "accepted": "y"}),
            app.client.patch("/v1/users/ann", json={"personalisation": True}),
            app.client.get("/readyz"),
        ]
        degraded = replies[0].json().get("hydra", {}).get("degraded")
        days = round((time.time() - began) / 86_400)
        print(json.dumps({"days": days, "statuses": [one.status_code for one in replies], "degraded": degraded}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
