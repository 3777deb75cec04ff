"""POST /feedback: what a reader says of an answer."""

from datetime import UTC, datetime

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from serving.errors import one_line
from serving.http import schemas
from serving.http.admission import Engine
from serving.http.keys import Caller
from serving.http.problems import ProblemError
from serving.http.settings import KIB
from serving.http.tokens import TokenError, TokenSigner
from serving.store.records import COMMENTS, FeedbackRecord

MAX_BODY = 16 * KIB


def form(engine: Engine) -> schemas.FeedbackForm | None:
    """What feedback may hold; None where the service takes none."""
    if not engine.keeper or not engine.keeper.signer:
        return None
    return schemas.FeedbackForm(
        comments={str(code): words for code, words in COMMENTS.items()}, free_text=engine.settings.feedback_text
    )


async def receive(engine: Engine, request: Request) -> Response:
    """POST /feedback."""
    keeper, caller = engine.keeper, request.state.caller
    if keeper is None or keeper.signer is None:
        raise ProblemError("not_found", "this service takes no feedback")
    wait = engine.feedback_rate.take(caller.name)
    if wait:
        most = engine.settings.feedback_per_minute
        seconds = str(max(1, round(wait)))
        raise ProblemError("too_many_requests", f"more than {most} opinions in a minute", {"retry-after": seconds})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError("unsupported_media_type", f"content type {kind[:80]!r}; send application/json")
    said = _read(await engine.body(request, MAX_BODY))
    _check(said, caller, keeper.signer, engine)
    row = FeedbackRecord(
        answer_id=said.answer_id,
        at=datetime.now(UTC),
        site=caller.site,
        reader=caller.name,
        source="reader",
        opinion=said.opinion,
        label=said.label,
        boxes=[[box.x0, box.y0, box.x1, box.y1] for box in said.boxes] or None,
        comments=sorted(said.comments) or None,
        text=said.text or None,
        saw_answer=said.saw_answer,
    )
    count = await keeper.take(row)
    engine.telemetry.feedback(request.state.request_id, said.answer_id, said.opinion)
    receipt = schemas.Receipt(
        answer_id=said.answer_id, opinion=said.opinion, opinions=count, request_id=request.state.request_id
    )
    return Response(receipt.written(), media_type="application/json")


def _read(body: bytes) -> schemas.Feedback:
    """The request's object; Problem `invalid_feedback` names the first key that is wrong, never its value."""
    try:
        return schemas.Feedback.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        if place == "feedback_token" and first["type"] == "missing":
            raise ProblemError(
                "feedback_refused", "feedback_token is missing; send the one that came with the answer"
            ) from None
        reason = first["msg"].removeprefix("Value error, ")
        raise ProblemError("invalid_feedback", f"{place}: {one_line(reason, 200)}") from None


def _check(said: schemas.Feedback, caller: Caller, signer: TokenSigner, engine: Engine) -> None:
    if caller.role != "reader":
        raise ProblemError("feedback_refused", f"the key {caller.name} may send images, but no feedback")
    try:
        signer.check(said.feedback_token, said.answer_id, caller.site)
    except TokenError as error:
        raise ProblemError("feedback_refused", str(error)) from None
    classes = engine.predictor.bundle.manifest.classes
    if said.label is not None and said.label not in classes:
        raise ProblemError("invalid_feedback", f"label: is none of the model's classes ({', '.join(classes)})")
    for number, box in enumerate(said.boxes):
        if box.x0 >= box.x1 or box.y0 >= box.y1:
            raise ProblemError("invalid_feedback", f"boxes.{number}: x0 must be below x1, and y0 below y1")
    if said.text and not engine.settings.feedback_text:
        raise ProblemError("invalid_feedback", "text: this service takes no free text; use the codes of comments")
