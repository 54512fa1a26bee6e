"""Payment requests: asking to be paid in coins, paying, cancelling, expiring."""

from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from lockers import errors, payment_ledger, vault, wrong_code_limits
from lockers.models import LockerTask, Payment, PaymentRequest
from lockers.operations import new_task, transfer
from lockers.states import PAYABLE, PaymentMode, PaymentRequestState, TaskKind, TaskState
from trusts import queries as trusts
from wallets import operations as wallets
from wallets.audit import listed
from wallets.deadlocks import retry_on_deadlock
from wallets.models import Wallet

# Payments by codes that are open at once, to all requests of a payee: without a login they cost who sends them nothing.
OPEN_CODES_PER_PAYEE: Final = 20
# The requests that expire in one transaction, and the batches of one run.
_EXPIRED_AT_ONCE: Final = 100
_BATCHES: Final = 100


def create(
    *,
    actor: Wallet,
    name: str | None,
    units: int,
    description: str,
    mode: PaymentMode = PaymentMode.SINGLE,
    reference: str = "",
    expires_at: datetime | None = None,
) -> PaymentRequest:
    """
    Ask to be paid: the named wallet, or the actor, is the payee. Nothing is reserved.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the actor does not control it
    :raises PaymentExpiryPassed: `expires_at` is not in the future
    """
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        request = PaymentRequest.objects.create(
            wallet=wallet,
            actor=actor,
            amount=units,
            description=description,
            mode=mode,
            reference=reference,
            expires_at=expires_at,
        )
        if expires_at is not None and PaymentRequest.objects.filter(pk=request.pk, expires_at__lte=Now()).exists():
            raise errors.PaymentExpiryPassed
        request.refresh_from_db(fields=["created_at"])
    return request


@retry_on_deadlock
def cancel(*, actor: Wallet, request_id: UUID) -> PaymentRequest:
    """
    Cancel a payment request of a wallet that the actor controls.

    A payment whose coins move already is still credited, as late.

    :raises PaymentRequestNotFound: no such payment request, or the actor does not control the payee
    :raises PaymentRequestClosed: it was paid, cancelled or expired
    """
    with transaction.atomic(savepoint=False):
        # Which wallet is the payee never changes. The right is locked before the request, as in a payment.
        payee_id = PaymentRequest.objects.filter(pk=request_id).values_list("wallet_id", flat=True).first()
        if payee_id is None or not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=payee_id):
            raise errors.PaymentRequestNotFound
        request = payment_ledger.lock_one(request_id)
        payment_ledger.refuse_closed(request)
        payment_ledger.close(request, PaymentRequestState.CANCELLED)
        request.refresh_from_db(fields=["closed_at"])
    return request


@retry_on_deadlock
def pay(
    *,
    actor: Wallet,
    request_id: UUID,
    name: str | None = None,
    units: int | None = None,
    payment_id: UUID | None = None,
    has_typed_password: bool = False,
) -> Payment:
    """
    Pay from a wallet of this ledger, at once unless a coin must be broken: then the payment is pending at first.

    Without `units` all that is outstanding is paid. The open request is the payee's consent: no trust is needed. A
    repeated call with the same `payment_id` returns the first one's payment, and pays nothing. `has_typed_password`
    says that the actor was identified by its password for this act alone.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the actor does not control it
    :raises InvalidCredentials: the password has changed since
    :raises PaymentRequestNotFound: no such payment request
    :raises PaymentRequestClosed: it was paid, cancelled or expired
    :raises PaymentInProgress, PaymentAmountRefused: as for `payment_ledger.payable_units`
    :raises PaymentNotFound: the id is that of a payment of another request
    :raises SameWallets: the wallet is the payee
    :raises NotEnoughCoins, NoExactChange, CoinsBusy, TooManyTasks, InvalidLockerRequest: as for `put.start`
    """
    payment_id = payment_id or uuid4()
    with transaction.atomic(savepoint=False):
        if has_typed_password:
            wallets.hold_password(actor)
        giver = new_task.controlled_wallet(actor, name)
        request = payment_ledger.lock_one(request_id)
        if (first := payment_ledger.begun(request, payment_id)) is not None:
            return _shown(first.pk)
        payment_ledger.refuse_closed(request)
        if giver.pk == request.wallet_id:
            raise errors.SameWallets
        units = payment_ledger.payable_units(request, units)
        task = transfer.move(
            actor=actor,
            giver=giver,
            receiver=request.wallet,
            units=units,
            tag=request.description[:250],
            plan={"payment_request": str(request.pk)},
        ).task
        payment_ledger.begin(payment_id=payment_id, request=request, task=task, payer=giver, expected=units)
        if task.state != TaskState.RUNNING:
            payment_ledger.settle(task_ids=[task.pk], is_admitted=True)
    return _shown(payment_id)


def _shown(payment_id: UUID) -> Payment:
    return Payment.objects.select_related("request__wallet", "task", "payer").defer("task__code").get(pk=payment_id)


@sensitive_variables("code")
def pay_with_code(
    *, actor: Wallet | None, request_id: UUID, code: str, address: str, payment_id: UUID | None = None
) -> Payment:
    """
    Start to take the coins of a locker, here or anywhere, into the payee's wallet.

    The worker looks into the locker first, and takes nothing if the request is closed then or asks for another amount.
    Without `actor` the payer is unknown; only `address`, the caller's, is counted for wrong codes then. `payment_id` is
    as for `pay`.

    :raises LockersOff: no RAIDA servers are configured
    :raises InvalidLockerRequest: the text cannot be a code
    :raises TooManyWrongCodes: the wallet or the address has sent too many wrong codes
    :raises TooManyTasks: the actor has the maximum number of open tasks
    :raises TooManyPayments: too many payments to the payee by codes are open
    :raises PaymentRequestNotFound, PaymentRequestClosed, PaymentNotFound: as for `pay`
    :raises PaymentInProgress: other payments may bring all that is outstanding
    """
    new_task.check_lockers_are_on()
    code = new_task.valid_code(code)
    asked_from = wrong_code_limits.fingerprint(address)
    wrong_code_limits.refuse_guesser(wallet_id=None if actor is None else actor.pk, address=asked_from)
    payment_id = payment_id or uuid4()
    with transaction.atomic(savepoint=False):
        if actor is not None:
            # The payment is one of the actor's wallet.
            new_task.controlled_wallet(actor, None)
        request = payment_ledger.lock_one(request_id)
        if (first := payment_ledger.begun(request, payment_id)) is not None:
            return _shown(first.pk)
        payment_ledger.refuse_closed(request)
        payment_ledger.payable_units(request, None)
        _refuse_more_codes(request.wallet_id)
        task_id = uuid4()
        task = new_task.open_task(
            TaskKind.TAKE,
            wallet=request.wallet,
            actor=actor or request.wallet,
            is_bounded=actor is not None,
            id=task_id,
            tag=request.description[:250],
            code=vault.seal_task_code(code, task_id=task_id),
            plan={"from": asked_from, "payment_request": str(request.pk)}
            | ({"anonymous": True} if actor is None else {}),
        )
        payment_ledger.begin(payment_id=payment_id, request=request, task=task, payer=actor)
    return _shown(payment_id)


def _refuse_more_codes(payee_id: UUID) -> None:
    """Nothing is locked: concurrent requests may exceed the limit by a few tasks."""
    open_codes = LockerTask.objects.filter(
        wallet_id=payee_id, kind=TaskKind.TAKE, state=TaskState.RUNNING, payment__isnull=False
    )
    if open_codes.count() >= OPEN_CODES_PER_PAYEE:
        raise errors.TooManyPayments(OPEN_CODES_PER_PAYEE)


def expire_due() -> int:
    """
    Expire the payment requests whose time has passed, in batches of one transaction each, and return how many.

    Those that another transaction has locked are being decided, and left out.
    """
    done = 0
    for _ in range(_BATCHES):
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(_DUE, [_EXPIRED_AT_ONCE])
                due = [request_id for (request_id,) in cursor.fetchall()]
            payment_ledger.lock(due)
        done += len(due)
        if len(due) < _EXPIRED_AT_ONCE:
            break
    return done


# The states are constants, as in the index.
_DUE: Final = f"""
SELECT id FROM lockers_paymentrequest WHERE state IN {listed(PAYABLE)} AND expires_at <= now()
 ORDER BY expires_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608 - constants
