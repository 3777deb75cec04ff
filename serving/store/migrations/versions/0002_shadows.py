"""Answers of a shadow bundle."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "shadows",
        sa.Column("answer_id", sa.String(32), primary_key=True),
        sa.Column("model_sha256", sa.String(64), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("model_name", sa.String(128), nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("refused", sa.String(32)),
        sa.Column("label", sa.String(64)),
        sa.Column("probability", sa.Float()),
        sa.Column("threshold", sa.Float()),
        sa.Column("suspicion", sa.String(16)),
        sa.Column("region", sa.String(64)),
        sa.Column("seconds", sa.Float()),
    )
    op.create_index("shadows_at", "shadows", ["at"])


def downgrade() -> None:
    """Drop it, with what it holds."""
    op.drop_table("shadows")
