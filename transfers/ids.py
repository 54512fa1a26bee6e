"""
Ids of new transfers and claim links: UUIDs of version 7 (RFC 9562), which begin with the time.

Ids of the same time stand together in the index of the primary key, so that new rows change pages that are in memory
and that the last rows changed. Random ids change any page of the index, and PostgreSQL logs each page as a whole when
it is changed for the first time after a checkpoint.

Such an id tells when it was made, and has 74 random bits. It grants nothing: who may read a transfer is decided by
control of its wallets, and a claim link is opened by its code. An id that is a secret, as that of a payment request,
is not made here but is random.
"""

import secrets
import time
from typing import Final
from uuid import UUID

_RANDOM_BITS: Final = 74


def new_id() -> UUID:
    """Return an id of this millisecond. Ids of one millisecond are in no order."""
    return version_7(time.time_ns() // 1_000_000, secrets.randbits(_RANDOM_BITS))


def version_7(milliseconds: int, random: int) -> UUID:
    """
    Return the UUID of version 7 of a Unix time (48 bits) and 74 random bits.

    The version (4 bits) stands before the last 76 bits, the variant (2 bits) before the last 62.
    """
    high, low = divmod(random, 1 << 62)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
