"""Answers that users would not have in place of those of their history."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Adds the column; of items before, none is known."""
    op.add_column("history", sa.Column("rejected", sa.Text()))
