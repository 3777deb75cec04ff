"""Score an archive: what is left to do goes to an engine, until every id of the manifest is answered once."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from pipeline.archive import retries
from pipeline.archive.addresses import FILE, Roots, parse
from pipeline.archive.child import Scoring
from pipeline.archive.engines import Engine, Report, Work
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import Place
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.archive.retries import RetriedShard, Retry
from pipeline.archive.shards import RETRY, SUCCESS, Block, Plan, Shards, block_rows, checkpoints_name, lacks_ids
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
    """What is asked for; `roots` take the place of those of the manifest, and may be private hosts.

    `retry` holds the codes of rows that are asked again once every row is there.
    """

    manifest: Manifest
    opened: Bundle
    roots: tuple[str, ...] = ()
    warn_of_scope: bool = False
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    bounds: Bounds = field(default_factory=Bounds)
    shard_rows: int = SHARD_ROWS
    retry: tuple[str, ...] = ()

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
    """Told how far a scoring is: rows that were there already, less those asked again, and blocks that are done."""

    found: Callable[[int], None] = lambda _: None
    done: Callable[[Report], None] = lambda _: None


def run(request: Request, place: Place, engine: Engine, observer: Observer) -> Shards:
    """Answer every row of the manifest into `place`, going on where an earlier run ended.

    InputError where another scoring lies there or runs there now, where ids stay missing, and where no row has a code
    of `request.retry`.
    """
    if request.retry:
        retries.require_scoring(place)
    with _alone(place):
        shards = Shards.begin(place, request.plan())
        retry = retries.opened(shards, request.retry)
        if shards.succeeded:
            observer.found(shards.plan.rows)
            return shards
        place.delete([SUCCESS])  # which no longer holds, where a file of answers was removed
        work = _Run(request, shards, engine, observer)
        work.complete()
        if retry is not None:
            work.ask_again(retry)
        wrong = shards.check(request.manifest, request.pseudonyms)
        if wrong:
            raise lacks_ids(place, wrong)
        place.delete([RETRY])
        place.write(SUCCESS, b"")
        return shards


@dataclass(frozen=True)
class _Run:
    """One run, by whose end every row is there."""

    request: Request
    shards: Shards
    engine: Engine
    observer: Observer

    def complete(self) -> None:
        """Bring every shard to its end."""
        shards = self.shards
        finished = shards.finished()
        self.observer.found(sum(counts.rows for counts in finished.values()))
        for shard in range(shards.plan.shards):
            folder = checkpoints_name(shard)
            if shard in finished:
                shards.clear(folder)
                continue
            self.observer.found(sum(shards.plan.block_size(shard, number) for number in shards.done_blocks(folder)))
            self._answer(folder, partial(shards.blocks, self.request.manifest, shard))
            shards.finish(shard)

    def ask_again(self, retry: Retry) -> None:
        """Replace the rows of a retry, shard by shard."""
        finished = self.shards.finished()
        every = [RetriedShard(self.shards, retry, number, counts.errors) for number, counts in finished.items()]
        waiting = [shard for shard in every if shard.waits]
        self.observer.found(-sum(shard.rows - sum(rows for _, rows in shard.done()) for shard in waiting))
        for shard in every:
            if shard in waiting:
                self._answer(shard.folder, partial(shard.blocks, self.request.manifest, self.request.pseudonyms))
                shard.replace()
            self.shards.clear(shard.folder)

    def _answer(self, folder: str, blocks: Callable[[], Iterator[Block]]) -> None:
        """Have those of `blocks` written into `folder` that are not there, or are broken or others."""
        done = self.shards.done_blocks(folder)
        self.engine.run(self.shards, (block for block in blocks() if block.number not in done), self.observer.done)
        for _ in range(_PASSES):
            wrong = [block for block in blocks() if not self.shards.holds(block, self.request.pseudonyms)]
            if not wrong:
                return
            self.engine.run(self.shards, iter(wrong), self.observer.done)
        raise InputError(
            f"{self.shards.place.uri}: {len(wrong)} blocks of shard {wrong[0].shard} stay missing; does every process "
            "write to the same place?"
        )


def _alone(place: Place) -> AbstractContextManager[None]:
    """Hold a lock in a local folder; in a bucket two runs do the same blocks twice, which is no harm."""
    address = parse(place.uri)
    if address.scheme != FILE:
        return nullcontext()
    make_folder(address.file)
    return locked(address.file / _LOCK, "another scoring into this place runs now; wait for it, or stop it")
