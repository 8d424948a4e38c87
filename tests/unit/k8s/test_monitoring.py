"""The dashboard and the alerts use metrics that there are, with labels that these have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from manifests import PROFILES, ROOT, rendered

from hydra_ray.serve.observe.names import METRICS, SERVE_METRICS, VALUES

FOLDER = ROOT / "hydra_ray" / "k8s" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["spec"]["groups"]
PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")

# What stands in an expression besides metrics and labels.
WORDS = {
    *("sum", "min", "max", "rate", "increase", "histogram_quantile"),
    *("by", "on", "group_left", "or", "vector"),
}
STRING = re.compile(r'"[^"]*"')
DURATION = re.compile(r"\[[^\]]*\]")
SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
LABELS = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def series() -> dict[str, set[str]]:
    """Labels of each series that Prometheus has, by name."""
    found = {name: set(labels) for name, labels in SERVE_METRICS.items()}
    for metric in METRICS:
        if metric.kind == "histogram":
            found |= {f"{metric.exported}_{part}": set(metric.labels) for part in ("sum", "count")}
            found[f"{metric.exported}_bucket"] = {*metric.labels, "le"}
        else:
            found[metric.exported] = set(metric.labels)
    return found


def mistakes(expression: str) -> Iterator[str]:
    """What is wrong with an expression: unknown names, labels that its metrics lack, values that labels never take."""
    known = series()
    plain = DURATION.sub("", STRING.sub('""', expression))
    used = set(re.findall(r"[a-zA-Z_]\w*", SELECTOR.sub(r"\1", LABELS.sub("", plain)))) - WORDS
    metrics = used & set(known)
    yield from (f"there is no {name}" for name in sorted(used - metrics))
    if not metrics:
        yield "there is no metric"
    for name, matchers in SELECTOR.findall(expression):
        for label, value in MATCHER.findall(matchers):
            if label not in known.get(name, ()):
                yield f"{name} has no {label}"
            elif VALUES.get(label) and not any(re.fullmatch(value, one) for one in VALUES[label] or ()):
                yield f"{label} is never {value}"
    grouped = {label.strip() for labels in LABELS.findall(expression) for label in labels.split(",") if label.strip()}
    for label in sorted(grouped):
        if not any(label in known[name] for name in metrics):
            yield f"no metric here has {label}"


@pytest.mark.parametrize(
    ("expression", "mistake"),
    [
        ("sum(rate(ray_hydra_request_total[5m]))", "there is no ray_hydra_request_total"),
        ("sum(rate(ray_hydra_requests[5m]))", "there is no ray_hydra_requests"),
        ("up == 0", "there is no up"),
        ('ray_hydra_requests_total{user="ann"}', "ray_hydra_requests_total has no user"),
        ('ray_hydra_requests_total{route="chats"}', "route is never chats"),
        ("sum by (step) (ray_hydra_requests_total)", "no metric here has step"),
        ("histogram_quantile(0.9, sum by (le) (rate(ray_hydra_requests_total[5m])))", "no metric here has le"),
        ("1 > 0", "there is no metric"),
    ],
)
def test_mistakes_are_found(expression, mistake):
    assert mistake in list(mistakes(expression))


def expressions() -> Iterator[Any]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for group in RULES:
        yield from (pytest.param(rule["expr"], id=rule["alert"]) for rule in group["rules"])
    for line in re.findall(r"^\| .* \| `(.*ray_\w+.*)` \|$", PAGE, re.MULTILINE):
        yield pytest.param(line, id=f"page: {line[:40]}")


@pytest.mark.parametrize("expression", list(expressions()))
def test_what_is_asked_of_prometheus_is_there(expression):
    assert list(mistakes(expression)) == []


def test_every_metric_is_on_the_dashboard():
    asked = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ()))
    shown = {metric.exported for metric in METRICS if re.search(rf"\b{metric.exported}(_bucket|_count)?\b", asked)}
    assert shown == {metric.exported for metric in METRICS}


def test_panels_stand_beside_each_other_and_have_a_source():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${source}"
            # Each label of a legend is one that the expression keeps.
            for target in panel["targets"]:
                for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                    assert any(label in kept for kept in LABELS.findall(target["expr"])), target


def test_every_alert_says_what_it_is_and_what_to_do():
    alerts = [rule for group in RULES for rule in group["rules"]]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 10
    headings = {line.removeprefix("### ") for line in PAGE.splitlines() if line.startswith("### ")}
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook_url"] == f"docs/observability.md#{rule['alert'].lower()}"
        assert rule["alert"] in headings
        # Labels of the summary are there when the alert comes.
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert any(label in kept for kept in LABELS.findall(rule["expr"])), rule["alert"]
    assert {name for name in headings if name.startswith("Hydra")} == {rule["alert"] for rule in alerts}


@pytest.mark.parametrize("profile", PROFILES)
def test_prometheus_reads_the_pods_of_the_service(profile):
    made = rendered(profile)
    spec = made.one("PodMonitor")["spec"]
    cluster = made.one("RayService")["spec"]["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert spec["selector"]["matchLabels"] == group["template"]["metadata"]["labels"]
    # KubeRay names the port so.
    assert [one["port"] for one in spec["podMetricsEndpoints"]] == ["metrics"]
    assert made.one("PrometheusRule")["spec"]["groups"] == RULES
    grafana = made.one("ConfigMap", "-dashboard")
    assert grafana["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(grafana["data"]["dashboard.json"]) == DASHBOARD
