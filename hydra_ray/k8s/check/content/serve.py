"""The Serve config of a RayService, as Ray and hydra-ray will read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra_ray.k8s.check.problems import Problem, shown
from hydra_ray.k8s.check.reading.objects import Thing, dig, mapping, text
from hydra_ray.records import HydraError
from hydra_ray.settings import Settings, SettingsError, parse_settings
from hydra_ray.settings.files.yaml_file import YAMLFileError, parse_yaml

PLACE = "spec.serveConfigV2"
_OURS = "hydra_ray.serve.app:build"
_ENGINE = "hydra_ray.runtime.vllm_app:build"


@dataclass(slots=True)
class ServeConfig:
    """A Serve config that can be read.

    Attributes:
        thing: The RayService.
        config: The config, as YAML gives it.
        settings: Settings of each of hydra-ray's applications, by its place among all.
        is_whole: Whether all of it could be read, so that what its parts say of each other can be checked.
    """

    thing: Thing
    config: dict[str, Any]
    settings: dict[int, Settings] = field(default_factory=dict)
    is_whole: bool = True

    def of(self, import_path: str) -> list[tuple[int, Mapping[str, Any], Settings]]:
        """Return hydra-ray's applications of one import path, each with its place and settings."""
        applications = self.config["applications"]
        return [
            (place, applications[place], tree)
            for place, tree in self.settings.items()
            if applications[place]["import_path"] == import_path
        ]

    @property
    def ours(self) -> list[tuple[int, Mapping[str, Any], Settings]]:
        """The applications that answer."""
        return self.of(_OURS)

    @property
    def engines(self) -> list[tuple[int, Mapping[str, Any], Settings]]:
        """The applications that host vLLM."""
        return self.of(_ENGINE)

    def problem(self, path: str, said: str) -> Problem:
        """Return a problem of the config, at a path in it."""
        return self.thing.problem(f"{PLACE}.{path}" if path else PLACE, said)


def read_serve(thing: Thing) -> tuple[ServeConfig | None, list[Problem]]:
    """Return the Serve config of a RayService, and what is wrong in it; None where it cannot be read at all."""
    given = text(dig(thing.tree, "spec", "serveConfigV2"))
    if not given.strip():
        return None, [thing.problem(PLACE, "it is empty: nothing would be served")]
    try:
        config = parse_yaml(given)
    except YAMLFileError as error:
        return None, [thing.problem(PLACE, str(error))]
    if not isinstance(config, dict):
        return None, [thing.problem(PLACE, "a Serve config is a mapping")]
    errors = list(_schema_errors(config))
    if errors:
        return None, [thing.problem(f"{PLACE}.{path}".rstrip("."), said) for path, said in errors]
    found = ServeConfig(thing, config)
    problems = list(_problems(found))
    found.is_whole = not problems
    return found, problems


def _schema_errors(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from pydantic import ValidationError
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

    try:
        ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        for one in error.errors():
            yield _path(one["loc"]), f"{one['msg']} (Ray's ServeDeploySchema)"
        return
    except (TypeError, AttributeError, KeyError) as error:
        # Some of Ray's validators take the types of other fields for granted.
        yield "", f"it has types that Ray's ServeDeploySchema cannot read: {error}"
        return
    # Which Ray looks at when it deploys, and not before.
    for place, application in enumerate(config["applications"]):
        for number, deployment in enumerate(application.get("deployments") or ()):
            try:
                AutoscalingConfig.model_validate(deployment.get("autoscaling_config") or {})
            except ValidationError as error:
                path = f"applications[{place}].deployments[{number}].autoscaling_config"
                for one in error.errors():
                    yield f"{path}.{_path(one['loc'])}".rstrip("."), f"{one['msg']} (Ray's AutoscalingConfig)"


def _problems(found: ServeConfig) -> Iterator[Problem]:
    from hydra_ray.k8s.check.content.serve_keys import unknown_keys

    for path in unknown_keys(found.config):
        yield found.problem(path, "there is no such key, and Ray would ignore it")
    for place, application in enumerate(found.config["applications"]):
        yield from _application(found, place, application)
    for place, _, settings in found.ours:
        yield from _served(found, place, settings)
    host = dig(found.config, "http_options", "host")
    if host is None or text(host) in ("127.0.0.1", "localhost"):
        yield found.problem("http_options.host", "no other pod reaches 127.0.0.1: write 0.0.0.0")


def _application(found: ServeConfig, place: int, application: Mapping[str, Any]) -> Iterator[Problem]:
    path, import_path = f"applications[{place}]", text(application.get("import_path"))
    if import_path not in (_OURS, _ENGINE):
        if import_path.startswith("hydra_ray"):
            said = f"hydra-ray has the applications {_OURS} and {_ENGINE}"
            yield found.problem(f"{path}.import_path", said)
        return
    try:
        found.settings[place] = parse_settings(dict(mapping(application.get("args"))), "args")
    except SettingsError as error:
        for inner, said in settings_errors(error):
            yield found.problem(f"{path}.args.{inner}".rstrip("."), said)
        return
    known = _deployments(import_path, found.settings[place])
    for number, deployment in enumerate(application.get("deployments") or ()):
        if deployment["name"] not in known:
            said = f"there is no deployment {shown(deployment['name'])}; there are {', '.join(sorted(known))}"
            yield found.problem(f"{path}.deployments[{number}].name", said)


def _served(found: ServeConfig, place: int, settings: Settings) -> Iterator[Problem]:
    from hydra_ray.serve.app import check_methods

    path = f"applications[{place}].args"
    try:
        check_methods(settings)
    except HydraError as error:
        yield found.problem(path, str(error))
    if settings.auth.mode == "off":
        yield found.problem(f"{path}.auth.mode", "off answers the pod's own machine alone: use keys")
    if settings.generator.backend == "vllm":
        app = settings.generator.vllm.app
        names = [one["name"] for _, one, _ in found.engines]
        if app not in names:
            said = f'there is no application "{app}" of {_ENGINE}, which is to host the LLM'
            yield found.problem(f"{path}.generator.vllm.app", said)


def _deployments(import_path: str, settings: Settings) -> set[str]:
    if import_path == _ENGINE:
        from hydra_ray.runtime.vllm_app import ENGINE

        return {ENGINE}
    from hydra_ray.k8s.check.content.deployments import used_deployments

    return set(used_deployments(settings))


def settings_errors(error: SettingsError) -> list[tuple[str, str]]:
    """Return what an error of settings names, each with its path in them."""
    first, *lines = str(error).splitlines()
    if not lines:
        return [("", first)]
    split = (line.strip().partition(": ") for line in lines)
    return [("" if path == "(top)" else path, said) for path, _, said in split]


def _path(steps: tuple[int | str, ...]) -> str:
    path = ""
    for step in steps:
        path = f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}".lstrip(".")
    return path
