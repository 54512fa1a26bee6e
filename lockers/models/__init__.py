"""
Models of the lockers app: coins, lockers filled here, tasks and their attempts, payment requests, statements, servers.

Secrets (authenticity numbers, proposed numbers, transmit codes) are sealed by `lockers.vault` before they are stored.
Amounts are integers in units of 10^-8 coin.
"""

from lockers.models.coins import Coin, ReceiptLine
from lockers.models.payment_requests import Payment, PaymentRequest
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
    "Payment",
    "PaymentRequest",
    "ReceiptLine",
    "ServerHealth",
    "ServerReading",
    "StatementLine",
    "Turn",
    "Upload",
]
