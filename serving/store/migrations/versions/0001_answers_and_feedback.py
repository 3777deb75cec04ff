"""Answers and feedback."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "answers",
        sa.Column("answer_id", sa.String(32), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("route", sa.String(32), nullable=False),
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("caller", sa.String(64), nullable=False),
        sa.Column("model_name", sa.String(128), nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("refused", sa.String(32)),
        sa.Column("image_sha256", sa.String(64)),
        sa.Column("label", sa.String(64)),
        sa.Column("probability", sa.Float()),
        sa.Column("threshold", sa.Float()),
        sa.Column("suspicion", sa.String(16)),
        sa.Column("region", sa.String(64)),
        sa.Column("region_source", sa.String(16)),
        sa.Column("statistics", sa.JSON()),
        sa.Column("warnings", sa.JSON()),
        sa.Column("features", sa.LargeBinary()),
        sa.Column("patient", sa.String(32)),
        sa.Column("study", sa.String(32)),
    )
    op.create_index("answers_at", "answers", ["at"])
    op.create_index("answers_site_at", "answers", ["site", "at"])
    op.create_index("answers_image", "answers", ["image_sha256"])
    op.create_index("answers_request", "answers", ["request_id"])
    op.create_table(
        "feedback",
        sa.Column("feedback_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("answer_id", sa.String(32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("site", sa.String(64), nullable=False),
        sa.Column("reader", sa.String(64), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("opinion", sa.String(16), nullable=False),
        sa.Column("label", sa.String(64)),
        sa.Column("boxes", sa.JSON()),
        sa.Column("comments", sa.JSON()),
        sa.Column("text", sa.Text()),
        sa.Column("saw_answer", sa.Boolean()),
    )
    op.create_index("feedback_answer", "feedback", ["answer_id", "reader"])
    op.create_index("feedback_at", "feedback", ["at"])


def downgrade() -> None:
    """Drop both tables, with what they hold."""
    op.drop_table("feedback")
    op.drop_table("answers")
