"""Why the LLM answered a request as it was."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Adds the column; what was passed through before was not kept, so all rows are of methods."""
    op.add_column("completions", sa.Column("passed_for", sa.String()))
