"""The classes of a dataset that is written out: ids and names exactly as the source has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.labels.records import Annotation

Class = tuple[int | None, str]
"""(id in the source, or ``None`` where it has none; name)."""


class Categories:
    """Which id and which class index an annotation has.

    An id is never changed, and never looked up by name where an annotation carries one: two categories may share a
    name, and an annotation may have an id that the source's list does not declare. Only names without any id are
    numbered, sorted, after the greatest id in use.

    Args:
        declared: COCO's category list as it stands in the source; empty where there is none.
        found: (id, name) of every annotation that is to be written.

    Attributes:
        declared: the list to write: the source's, continued for names without an id.
        undeclared: ids of annotations that the list does not have.
        names: the name of every class, in the order of the ids; names may occur twice.
    """

    def __init__(self, declared: Sequence[dict[str, Any]], found: Iterable[Class]) -> None:
        self.declared = [dict(category) for category in declared]
        names: dict[int, str] = {}
        for category in self.declared:
            if (number := _whole(category.get("id"))) is not None:
                names.setdefault(number, str(category.get("name", "")))
        seen = set(found)
        self.undeclared = sorted({number for number, _ in seen if number is not None and number not in names})
        known = {number: name for number, name in sorted(seen, key=str) if number is not None}
        by_name: dict[str, int] = {}
        for number, name in names.items():
            by_name.setdefault(name, number)
        if not names:
            # Without a declared list the annotations are all there is to know of their ids.
            for number in self.undeclared:
                self.declared.append({"id": number, "name": known[number]})
                by_name.setdefault(known[number], number)
            self.undeclared = []
        after = max([0, *names, *known])
        for name in sorted({name for number, name in seen if number is None and name and name not in by_name}):
            after += 1
            by_name[name] = after
            self.declared.append({"id": after, "name": name})
        self._by_name = by_name
        classes = {
            number: str(each.get("name", ""))
            for each in self.declared
            if (number := _whole(each.get("id"))) is not None
        }
        classes |= {number: known[number] or str(number) for number in self.undeclared}
        self._index = {number: at for at, number in enumerate(sorted(classes))}
        self.names = [classes[number] for number in sorted(classes)]

    def id_of(self, found: Annotation) -> int | None:
        """The source's id, or the number of a name without one; ``None`` for an annotation with neither."""
        return found.category_id if found.category_id is not None else self._by_name.get(found.category)

    def index_of(self, found: Annotation) -> int | None:
        """The class from 0 on, in the order of the ids: a place in :attr:`names`."""
        number = self.id_of(found)
        return None if number is None else self._index.get(number)


def _whole(value: Any) -> int | None:
    """An id as an int; ``None`` for anything that is none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
