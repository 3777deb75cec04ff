"""Score an archive: what is left to do goes to an engine, until every id of the manifest is answered once."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from pipeline.archive.addresses import FILE, Roots, parse
from pipeline.archive.child import Scoring
from pipeline.archive.engines import Engine, Report, Work
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import Place
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.archive.shards import SUCCESS, Plan, Shards, answers_name, block_rows
from pipeline.archive.worker import Bounds
from pipeline.errors import InputError
from pipeline.files import locked, make_folder
from serving.bundle import Bundle

SHARD_ROWS = 5_000_000
_PASSES = 3
"""Times that missing ids are asked for again before a person has to see why."""
_LOCK = ".lock"


@dataclass(frozen=True)
class Request:
    """What is asked for; `roots` take the place of those of the manifest, and may be private hosts."""

    manifest: Manifest
    opened: Bundle
    roots: tuple[str, ...] = ()
    warn_of_scope: bool = False
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    bounds: Bounds = field(default_factory=Bounds)
    shard_rows: int = SHARD_ROWS

    def plan(self) -> Plan:
        """What is written beside the answers, and has to be the same when the scoring goes on."""
        facts = self.opened.manifest
        return Plan(
            manifest_sha256=self.manifest.sha256(),
            bundle_digest=facts.digest,
            model=f"{facts.name} {facts.version}",
            model_sha256=self.opened.sha256,
            scope="warn" if self.warn_of_scope else "refuse",
            pseudonyms=self.pseudonyms.fingerprint,
            rows=self.manifest.rows,
            shard_rows=self.shard_rows,
            block_rows=block_rows(min(self.manifest.rows, self.shard_rows)),
        )

    def work(self) -> Work:
        """What every process has to know."""
        roots = Roots.of(() if self.roots else self.manifest.roots, self.roots)
        asked = Scoring(self.opened.folder.absolute(), self.opened.manifest.digest, roots, self.warn_of_scope)
        return Work(asked, self.bounds, self.opened.sha256, self.pseudonyms)


@dataclass
class Observer:
    """Told how far a scoring is: rows that were there already, and blocks that are done."""

    found: Callable[[int], None] = lambda _: None
    done: Callable[[Report], None] = lambda _: None


def run(request: Request, place: Place, engine: Engine, observer: Observer) -> Shards:
    """Answer every row of the manifest into `place`, going on where an earlier run ended.

    InputError where another scoring lies there or runs there now, or where ids stay missing.
    """
    with _alone(place):
        shards = Shards.begin(place, request.plan())
        if shards.succeeded:
            observer.found(shards.plan.rows)
            return shards
        place.delete([SUCCESS])  # which no longer holds, where a file of answers was removed
        _complete(request, shards, engine, observer)
        wrong = shards.check(request.manifest, request.pseudonyms)
        if wrong:
            names = ", ".join(map(answers_name, wrong))
            raise InputError(f"{place.uri}: {names} lack ids of the manifest; remove them and run the command again")
        place.write(SUCCESS, b"")
        return shards


def _complete(request: Request, shards: Shards, engine: Engine, observer: Observer) -> None:
    """Bring every shard to its end."""
    manifest = request.manifest
    finished = shards.finished()
    observer.found(sum(counts.rows for counts in finished.values()))
    for shard in range(shards.plan.shards):
        if shard in finished:
            shards.clear(shard)
            continue
        observer.found(sum(shards.plan.block_size(shard, number) for number in shards.done_blocks(shard)))
        engine.run(shards, shards.open_blocks(manifest, shard), observer.done)
        for _ in range(_PASSES):
            wrong = shards.wrong_blocks(manifest, shard, request.pseudonyms)
            if not wrong:
                break
            engine.run(shards, iter(wrong), observer.done)
        else:
            raise InputError(
                f"{shards.place.uri}: {len(wrong)} blocks of shard {shard} stay missing; does every process write to "
                "the same place?"
            )
        shards.finish(shard)


def _alone(place: Place) -> AbstractContextManager[None]:
    """Hold a lock in a local folder; in a bucket two runs do the same blocks twice, which is no harm."""
    address = parse(place.uri)
    if address.scheme != FILE:
        return nullcontext()
    make_folder(address.file)
    return locked(address.file / _LOCK, "another scoring into this place runs now; wait for it, or stop it")
