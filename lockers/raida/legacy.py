"""Coins of the network before this one: recognised and explained, never sent (the RAIDA protocol, section 7.3)."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LegacyRecord:
    """A coin which has a serial number and no denomination, its 25 ANs and what was last said of it."""

    serial_number: int
    ans: tuple[bytes, ...] = field(repr=False)
    pown: str | None = None
