"""Request bodies of operations on coins."""

from typing import Final

from config.api.cloudcoin.fields import NAME, TAG, Amount, Denomination
from config.api.validation import Shape

FIND: Final = Shape({"name": NAME})
FIX: Final = Shape({"name": NAME})
HEALTH: Final = Shape({"name": NAME})
BREAK: Final = Shape({"name": NAME, "denomination": Denomination()})
TRANSFER: Final = Shape({"srcname": NAME, "dstname": NAME, "amount": Amount(), "tag": TAG})
