"""Chat completions, with what users said of them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Creates the table; of what was answered before, nothing is known."""
    op.create_table(
        "completions",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("created_s", sa.Float(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("arm", sa.String()),
        sa.Column("propensity", sa.Float(), nullable=False),
        sa.Column("head", sa.String(), nullable=False),
        sa.Column("input", sa.Text()),
        sa.Column("history", sa.Text(), nullable=False),
        sa.Column("candidates", sa.Text(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("degraded", sa.Text(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("cached", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("streamed", sa.Boolean(), nullable=False),
        sa.Column("reaction", sa.String()),
        sa.Column("rating", sa.Integer()),
        sa.Column("edited", sa.Text()),
        sa.Column("chosen", sa.Integer()),
        sa.Column("said_s", sa.Float()),
        sa.Column("learnt", sa.Boolean(), nullable=False),
    )
    op.create_index("completions_by_id", "completions", ["tenant", "id"])
    op.create_index("completions_by_time", "completions", ["tenant", "created_s", "id"])
    op.create_index("completions_by_age", "completions", ["created_s"])
