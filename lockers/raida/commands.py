"""Commands of the network as (group, code) pairs (the RAIDA protocol, section 6)."""

from enum import Enum
from typing import Final


class Command(Enum):
    """One command; its value is the pair of bytes at offsets 4 and 5 of a request header."""

    ECHO = (0, 0)
    VERSION = (0, 1)
    DETECT = (1, 10)
    DETECT_SUM = (1, 11)
    POWN = (1, 20)
    POWN_SUM = (1, 21)
    GET_TICKET = (2, 40)
    GET_TICKET_SUM = (2, 41)
    VALIDATE_TICKET = (2, 50)
    FIND = (2, 60)
    FIX = (2, 80)
    CREATE_COINS = (3, 130)
    GET_ALL_SNS = (3, 160)
    DOWNLOAD = (8, 8)
    STORE_WITHOUT_SUM = (8, 80)
    PUT = (8, 82)
    PEEK = (8, 83)
    REMOVE = (8, 84)
    STORE_MULTIPLE = (8, 88)
    MAKE_CHANGE = (9, 90)
    GET_AVAILABLE_SNS = (9, 91)
    BREAK = (9, 92)
    JOIN = (9, 93)

    @property
    def group(self) -> int:
        return self.value[0]

    @property
    def code(self) -> int:
        return self.value[1]


# Idempotent commands. Validating a ticket consumes it, and getting available serial numbers reserves them, so neither
# is here.
REPEATABLE: Final = frozenset(
    {
        Command.ECHO,
        Command.VERSION,
        Command.DETECT,
        Command.DETECT_SUM,
        Command.GET_TICKET,
        Command.GET_TICKET_SUM,
        Command.FIND,
        Command.PEEK,
    }
)
