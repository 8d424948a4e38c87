"""Settings of who may ask, how much, and of what is each tenant's own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from hydra_ray.settings.section import Section


class QuotaSettings(Section):
    """What may be asked for; null is no limit."""

    requests_per_minute: int | None = Field(None, ge=1, description="In any 60 seconds.")
    tokens_per_minute: int | None = Field(None, ge=1, description="Of the LLM, in and out, in any 60 seconds.")
    requests_per_day: int | None = Field(None, ge=1, description="In a day of UTC.")
    tokens_per_day: int | None = Field(None, ge=1, description="Of the LLM, in and out, in a day of UTC.")


class RateLimitSettings(Section):
    """Quotas that all replicas share. A request must be within each that applies to it."""

    tenant: QuotaSettings = Field(QuotaSettings(), description="Of all keys and users of a tenant together.")
    key: QuotaSettings = Field(QuotaSettings(), description="Of each API key.")
    user: QuotaSettings = Field(QuotaSettings(), description="Of each user.")

    @property
    def limits_anything(self) -> bool:
        """Whether there is any quota."""
        return any(quota != QuotaSettings() for quota in (self.tenant, self.key, self.user))


class AuthSettings(Section):
    """Who may ask."""

    mode: Literal["keys", "off"] | None = Field(
        None,
        description="keys: only who shows an API key; off: anybody on this machine, and nobody else; null: off for "
        "`hydra-ray serve` on a loopback address, else keys.",
    )
    limits: RateLimitSettings = RateLimitSettings()

    @field_validator("mode", mode="before")
    @classmethod
    def _off_is_a_word(cls, mode: object) -> object:
        # Of YAML 1.1, which most files are read as, it is a truth value.
        return "off" if mode is False else mode


class TenantSettings(Section):
    """What differs for one tenant of the deployment; null is as for all."""

    method: str | None = Field(None, description="What answers, in place of serve.method.")
    tell_system: bool | None = Field(None, description="In place of serve.tell_system.")
    share_with_peers: bool | None = Field(
        None, description="Whether its users' texts may be shown in each other's prompts, in place of peers.tenants."
    )
    personal: bool = Field(True, description="false: everybody gets the shared answer, and nothing is learnt.")
    limits: RateLimitSettings | None = Field(None, description="In place of auth.limits.")
