"""The tables of the database. Those of users begin with the user's key, so that a user can be deleted whole.

A change of them also takes a revision in `migrations/versions`, for databases that are there already.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

HISTORY = Table(
    "history",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("input", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("ts", String),
    Column("item_id", String),
    Column("context", Text, nullable=False),
    # What was added to a long history is found without a look at the rest.
    Index("history_by_place", "tenant", "user", "place"),
)

# Changes with every write to a user's history: `store.types.HistoryVersion`.
HISTORY_VERSIONS = Table(
    "history_versions",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("epoch", String, nullable=False),
    Column("next_place", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
)

# `mark` is the fingerprint of what the head was fitted from, `stamp` changes with every write. A user who taught too
# little for a head has one all the same, so that nobody tries again before they have told more.
HEADS = Table(
    "heads",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("role", String, primary_key=True),
    Column("mark", String, nullable=False),
    Column("stamp", String, nullable=False),
    Column("head", LargeBinary),
)

# What posteriors of kind `bases` depend on, by item: `models.heads.bases.observations` as its bytes.
OBSERVATIONS = Table(
    "evidence",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("role", String, primary_key=True),
    Column("item", String, primary_key=True),
    Column("told", LargeBinary, nullable=False),
)

# What an LLM wrote of users; `how`, `what` and `seen` are `store.types.ProfileFingerprint`.
PROFILES = Table(
    "profiles",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("how", String, nullable=False),
    Column("what", String, nullable=False),
    Column("seen", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("degraded", Boolean, nullable=False),
    Column("dropped", Integer, nullable=False),
)

# Whose texts were read for a profile: all of the profile's own tenant.
PROFILE_PEERS = Table(
    "profile_peers",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("peer", String, primary_key=True),
    Index("profile_peers_by_peer", "tenant", "peer"),
)

# Which version of the base each alias means, one row a change: the latest revision counts. `version` is null where the
# alias was taken away. Two writers of the same revision cannot both have their row.
MODEL_ALIASES = Table(
    "model_aliases",
    METADATA,
    Column("alias", String, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("version", String),
    Column("action", String, nullable=False),
    Column("changed", String, nullable=False),
)

# Which replicas hold which versions, until when unless they say so again, and which they refused.
MODEL_USES = Table(
    "model_uses",
    METADATA,
    Column("holder", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("until", Float, nullable=False),
)

# Versions that were deleted: nobody may point at one any more.
MODEL_REMOVALS = Table(
    "model_removals",
    METADATA,
    Column("version", String, primary_key=True),
    Column("removed", String, nullable=False),
)
