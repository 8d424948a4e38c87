"""The tables of the database. Those of the user store begin with the user's key, so that a user is deleted whole.

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
    # Answer that the user would not have in its place; null where none is known.
    Column("rejected", Text),
    # Seconds since 1970 at which the item was first written; null for items of before v0007.
    Column("stored_at", Float),
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
    # Seconds since 1970; null for heads of before v0007.
    Column("written_at", Float),
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

# Numbers that an encoder gave for what is read of an item: `user_rows.encodings`. `text` is a digest of what was
# encoded, under which it is found; where several items of a user say the same, one of them has the row.
ITEM_ENCODINGS = Table(
    "item_encodings",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("encoder", String, primary_key=True),
    Column("text", LargeBinary, primary_key=True),
    Column("item", String, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    # They go with their item.
    Index("item_encodings_by_item", "tenant", "user", "item"),
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

# A row a user: writers of one user lock it. It outlasts the user, whose name is not in it, so that what was under way
# while they were deleted is known to come too late.
DELETIONS = Table(
    "deletions",
    METADATA,
    Column("digest", String, primary_key=True),
    Column("number", Integer, nullable=False),
)

# What users said of answers, as they said it: `store.types.FeedbackEvent`. `candidates` is JSON, pairs of a text and
# its votes or null; `history` is a JSON array of item ids.
FEEDBACK_EVENTS = Table(
    "feedback_events",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("input", Text, nullable=False),
    Column("said", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("candidates", Text, nullable=False),
    Column("history", Text, nullable=False),
    Column("ts", String),
    Column("completion_id", String),
    Column("method", String),
    Column("propensity", Float),
    Column("version", String, nullable=False),
    Column("said_at", String, nullable=False),
)

# Chat completions of the last days: `store.completions.records.Completion`. Who is nobody, or not personalised, is the
# user of no name, and no texts are kept of them. `history`, `candidates` and `degraded` are JSON.
COMPLETIONS = Table(
    "completions",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("request_id", String, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("version", String, nullable=False),
    Column("method", String, nullable=False),
    Column("arm", String),
    Column("propensity", Float, nullable=False),
    Column("head", String, nullable=False),
    Column("input", Text),
    Column("history", Text, nullable=False),
    Column("candidates", Text, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("degraded", Text, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("cached", Integer, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("streamed", Boolean, nullable=False),
    # Why the LLM answered the request as it was; null where a method answered it.
    Column("passed_for", String),
    # What the gate decided; null where none was asked.
    Column("gate_answered", String(64)),
    Column("gate_gain", Float),
    Column("gate_low", Float),
    # What users said of it; null where nothing was.
    Column("reaction", String),
    Column("rating", Integer),
    Column("edited", Text),
    Column("chosen", Integer),
    Column("said_s", Float),
    Column("learnt", Boolean, nullable=False),
    # One that is named by its id, and a tenant's of some days.
    Index("completions_by_id", "tenant", "id"),
    Index("completions_by_time", "tenant", "created_s", "id"),
    Index("completions_by_age", "created_s"),
)

# What was deleted and stays so whatever records hold; an empty `item` is the whole user. The one table that
# `Store.delete` leaves a row in.
TOMBSTONES = Table(
    "tombstones",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("item", String, primary_key=True),
    Column("at", String, nullable=False),
    Column("digest", String, nullable=False),
)

# API keys; of the key itself there is only a hash. Times are seconds since 1970. After a rotation the key before holds
# until `old_until`.
API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", String, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("user", String),
    Column("name", String, nullable=False),
    Column("prefix", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),
    Column("scopes", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("rotated", Float),
    Column("revoked", Float),
    Column("old_hash", String),
    Column("old_until", Float),
    Index("api_keys_by_tenant", "tenant", "created"),
    Index("api_keys_by_old_hash", "old_hash"),
)

# What was used of quotas a day; `store.identity.usage` says what a subject is. No user's name is in it.
USAGE = Table(
    "usage_counts",
    METADATA,
    Column("day", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
)

# Who changed what; rows are only ever added. `detail` is JSON and holds no text of a user.
AUDIT_LOG = Table(
    "audit_log",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("tenant", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("detail", Text, nullable=False),
    Index("audit_log_by_time", "at"),
)

# What a user wants; who never said anything has no row, and is answered in their own way.
USER_PREFERENCES = Table(
    "user_preferences",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("personalisation", Boolean, nullable=False),
    Column("said_at", Float, nullable=False),
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

# Where personalisation is switched off, since when in seconds since 1970; an empty tenant is all of them.
PERSONALISATION = Table(
    "personalisation",
    METADATA,
    Column("tenant", String, primary_key=True),
    Column("off_since", Float, nullable=False),
)
