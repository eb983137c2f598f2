"""Rows to render, and the results of rendering them, as data."""

from dataclasses import dataclass
from typing import NamedTuple


class Unrendered(NamedTuple):
    """A captured row that has no payload yet."""

    pk: int
    transaction: int | None
    stream: str
    event: str
    event_id: str
    object_type: str
    object_id: str
    #: JSON text: the object's columns as the change left them; None to render the current object.
    image: str | None
    attempts: int
    #: True if the row announces a change in all streams of the object. ``stream`` is then its own stream.
    is_everywhere: bool
    #: A lookup that finds the objects by ``object_id``; empty if that is a primary key.
    lookup: str
    is_move: bool
    #: If `is_everywhere`: the collections that the object left.
    left_streams: tuple[str, ...]

    @property
    def is_ancestors_deletion(self) -> bool:
        """
        True if the row is a DELETE that the table of an ancestor wrote.

        The object has left collections, if it was an object of this type at all.
        """
        return self.is_everywhere and self.event.startswith("DELETE_")


class FollowUp(NamedTuple):
    """A further row of the same change, which rendering a row requires."""

    stream: str
    event: str
    object_type: str
    object_id: str
    lookup: str = ""
    is_everywhere: bool = False
    #: True if it isn't needed when the transaction has already announced the object.
    is_repetition: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """The result of rendering a row: a payload, or an error, or neither if the row is obsolete."""

    row: Unrendered
    #: JSON text.
    payload: str | None = None
    error: Exception | None = None
    #: JSON text with the object's values that the error may quote.
    quotable: str | None = None
    #: Attributes among these that the type omits.
    omitted: tuple[str, ...] = ()
    #: Rows to write for the object's other streams, for objects that show it, or for a lookup's objects.
    follow_ups: tuple[FollowUp, ...] = ()

    @property
    def is_obsolete(self) -> bool:
        """True if the row gets an offset but no payload, because its object is gone or elsewhere."""
        return self.payload is None and self.error is None and not self.is_superfluous

    @property
    def is_superfluous(self) -> bool:
        """
        True if the row shows nothing, and no reader could miss it, so that it is deleted.

        A replay is never superfluous, because the row that it replays refers to it.
        """
        row = self.row
        shows_nothing = self.payload is None and self.error is None and row.image is None
        comes_or_goes = row.event.startswith(("CREATE_", "DELETE_"))
        is_missed = comes_or_goes and not row.is_ancestors_deletion and not row.lookup
        return shows_nothing and not is_missed and row.transaction is not None
