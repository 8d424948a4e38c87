"""One tree of settings, read from YAML plus `key=value` overrides."""

from hydra_ray.settings.data import DataSettings
from hydra_ray.settings.experiments import ArmSettings, ExperimentSettings
from hydra_ray.settings.files.listing import settings_table
from hydra_ray.settings.files.read import SettingsError, load_settings, parse_settings
from hydra_ray.settings.identity import AuthSettings, QuotaSettings, RateLimitSettings, TenantSettings
from hydra_ray.settings.learning import (
    BaseHeadSettings,
    BaseSettings,
    EncoderSettings,
    FeedbackSettings,
    FitSettings,
    GateSettings,
    HeadSettings,
)
from hydra_ray.settings.llm import DialectSettings, EndpointSettings, GeneratorSettings, LimitSettings, VLLMSettings
from hydra_ray.settings.logs import LoggingSettings
from hydra_ray.settings.method import (
    EmbedderSettings,
    MethodSettings,
    PeerSettings,
    ProfilePromptSettings,
    ProfileSettings,
    RetrieverName,
)
from hydra_ray.settings.observe import ObserveSettings, TraceSettings
from hydra_ray.settings.registry import RegistrySettings
from hydra_ray.settings.storage import CompletionLogSettings, StoreSettings
from hydra_ray.settings.tree import EvaluateSettings, ModelSettings, RaySettings, ServeSettings, Settings

__all__ = [
    "ArmSettings",
    "AuthSettings",
    "BaseHeadSettings",
    "BaseSettings",
    "CompletionLogSettings",
    "DataSettings",
    "DialectSettings",
    "EmbedderSettings",
    "EncoderSettings",
    "EndpointSettings",
    "EvaluateSettings",
    "ExperimentSettings",
    "FeedbackSettings",
    "FitSettings",
    "GateSettings",
    "GeneratorSettings",
    "HeadSettings",
    "LimitSettings",
    "LoggingSettings",
    "MethodSettings",
    "ModelSettings",
    "ObserveSettings",
    "PeerSettings",
    "ProfilePromptSettings",
    "ProfileSettings",
    "QuotaSettings",
    "RateLimitSettings",
    "RaySettings",
    "RegistrySettings",
    "RetrieverName",
    "ServeSettings",
    "Settings",
    "SettingsError",
    "StoreSettings",
    "TenantSettings",
    "TraceSettings",
    "VLLMSettings",
    "load_settings",
    "parse_settings",
    "settings_table",
]
