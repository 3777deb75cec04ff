"""The tables of the store. A change here needs a migration beside it (`migrations/versions`)."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()

ANSWERS = Table(
    "answers",
    METADATA,
    Column("answer_id", String(32), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("route", String(32), nullable=False),
    Column("site", String(64), nullable=False),
    Column("caller", String(64), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", String(128), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("refused", String(32)),
    Column("image_sha256", String(64)),
    Column("label", String(64)),
    Column("probability", Float),
    Column("threshold", Float),
    Column("suspicion", String(16)),
    Column("region", String(64)),
    Column("region_source", String(16)),
    Column("statistics", JSON(none_as_null=True)),
    Column("warnings", JSON(none_as_null=True)),
    Column("features", LargeBinary),
    Column("patient", String(32)),
    Column("study", String(32)),
    Index("answers_at", "at"),
    Index("answers_site_at", "site", "at"),
    Index("answers_image", "image_sha256"),
    Index("answers_request", "request_id"),
)

FEEDBACK = Table(
    "feedback",
    METADATA,
    # SQLite numbers rows by itself only where the type is INTEGER.
    Column("feedback_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("answer_id", String(32), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("site", String(64), nullable=False),
    Column("reader", String(64), nullable=False),
    Column("source", String(16), nullable=False),
    Column("opinion", String(16), nullable=False),
    Column("label", String(64)),
    Column("boxes", JSON(none_as_null=True)),
    Column("comments", JSON(none_as_null=True)),
    Column("text", Text),
    Column("saw_answer", Boolean),
    Index("feedback_answer", "answer_id", "reader"),
    Index("feedback_at", "at"),
)
"""No foreign key to `answers`: feedback may arrive before its answer is written, and outlive it."""

SHADOWS = Table(
    "shadows",
    METADATA,
    Column("answer_id", String(32), primary_key=True),
    Column("model_sha256", String(64), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("site", String(64), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", String(128), nullable=False),
    Column("refused", String(32)),
    Column("label", String(64)),
    Column("probability", Float),
    Column("threshold", Float),
    Column("suspicion", String(16)),
    Column("region", String(64)),
    Column("seconds", Float),
    Index("shadows_at", "at"),
)
"""No foreign key either: the two answers to an image are written in any order."""
