"""What the gate decided about a completion."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Adds the columns; of completions before, nobody knows what was decided."""
    op.add_column("completions", sa.Column("gate_answered", sa.String(64)))
    op.add_column("completions", sa.Column("gate_gain", sa.Float()))
    op.add_column("completions", sa.Column("gate_low", sa.Float()))
