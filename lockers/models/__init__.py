"""
What the lockers app stores: coins, the lockers that were filled here, tasks and their attempts, statements.

Everything that is worth money and secret (authenticity numbers, proposed numbers, transmit
codes) is sealed by `lockers.vault` before it gets here. Amounts are integers of 10^-8 coin.
"""

from lockers.models.coins import Coin, ReceiptLine
from lockers.models.servers import ServerHealth, ServerReading
from lockers.models.statements import Account, StatementLine
from lockers.models.tasks import Attempt, Export, Locker, LockerTask, Turn, Upload

__all__ = [
    "Account",
    "Attempt",
    "Coin",
    "Export",
    "Locker",
    "LockerTask",
    "ReceiptLine",
    "ServerHealth",
    "ServerReading",
    "StatementLine",
    "Turn",
    "Upload",
]
