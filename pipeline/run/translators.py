"""The loaded methods of one process: that of the output whose run it is, and those of its companions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from methods.sharing import sharing
from pipeline.job import Job
from pipeline.records import Shard
from pipeline.run.companion import Companion, Made
from pipeline.translate import shard as shards
from pipeline.translate.items import Note
from pipeline.translate.operations import ENOUGH, OperationCount
from pipeline.translate.translator import Translator


class Translators:
    """Builds a translator for each job by its target's name; the first leads, the others use its threads and device.

    Raises:
        InputError: as :class:`Translator`, for any of them.
    """

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        (target, job), *others = jobs.items()
        with sharing():
            self.lead = Translator(job, target)
            self._others = {name: Translator(each, name, beside=self.lead) for name, each in others}
        for each in (self.lead, *self._others.values()):
            each.operations = OperationCount(ENOUGH)

    def translate(self, shard: Shard, companions: Sequence[Companion], note: Note) -> Made:
        """The shard for the output that leads, and for those companions that want it."""
        wanted = {each.target: named for each in companions if (named := each.wants(shard)) is not None}
        if not wanted:
            return Made(shards.translate_shard(self.lead, shard, note))
        asked = [(self.lead, shard), *((self._others[target], named) for target, named in wanted.items())]
        lead, *others = shards.translate_beside(asked, note)
        assert lead is not None
        made = {target: each for target, each in zip(wanted, others, strict=True) if each is not None}
        return Made(lead, made)

    def close(self) -> None:
        """Stop the threads."""
        for each in self._others.values():
            each.notices.stop()
        self.lead.close()
