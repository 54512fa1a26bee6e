"""`manage.py create_wallet`, `create_api_key` and `purge_expired`, and the task that beat rings for daily."""

import io
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from config import celery_settings, tasks
from config.celery import app
from tests.concurrency.races import locked
from wallets import api_key_rotation, errors, operations, queries
from wallets.models import ApiKey, BearerToken, Event, RestrictedKey, Wallet
from wallets.states import EventType

pytestmark = pytest.mark.django_db


def run(*arguments: str, monkeypatch: Any = None, stdin: str = "") -> str:
    output = io.StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    call_command(*arguments, stdout=output)
    return output.getvalue()


@pytest.mark.parametrize("where", ["environment", "standard input"])
def test_a_wallet_is_created_with_a_password_that_is_no_argument(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    if where == "environment":
        monkeypatch.setenv("COPPICE_WALLET_PASSWORD", "test1234")
    output = run("create_wallet", "alice", monkeypatch=monkeypatch, stdin="test1234\n")

    wallet = Wallet.objects.get()
    assert output == f"{wallet.pk} alice\n"
    assert operations.authenticate(name_or_id="alice", password="test1234")
    assert "test1234" not in wallet.password


def test_without_a_password_no_wallet_is_created_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="No password given"):
        run("create_wallet", "alice", monkeypatch=monkeypatch)
    assert Wallet.objects.count() == 0

    run("create_wallet", "alice", "--no-password")
    assert Wallet.objects.get().password == ""


def test_a_password_that_could_never_log_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="1 to 32 characters"):
        run("create_wallet", "alice", monkeypatch=monkeypatch, stdin="x" * 33)

    assert Wallet.objects.count() == 0


def test_a_name_that_is_taken_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    run("create_wallet", "alice", "--no-password")

    with pytest.raises(CommandError, match=r"^The wallet 'Alice' has been existed$"):
        run("create_wallet", "Alice", "--no-password")


def test_an_api_key_is_shown_once_and_stored_as_a_digest() -> None:
    key = run("create_api_key", "partner").strip()

    (stored,) = ApiKey.objects.all()
    assert (bytes(stored.digest), stored.prefix, stored.name) == (queries.digest(key), key[:6], "partner")
    assert len(key) == 43


def test_the_key_of_the_environment_is_taken_over_unless_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, key in (("", None), ("e" * 20, "e" * 20)):
        monkeypatch.setenv("COPPICE_API_KEY", value)
        shown = run("create_api_key", "partner").strip()
        assert (shown == key) if key else len(shown) == 43
    assert run("create_api_key", "partner", "--key", "o" * 20) == f"{'o' * 20}\n"


def test_a_key_that_is_in_use_elsewhere_can_be_taken_over_once() -> None:
    key = "FORTESTFORTESTFORTESTFORTESTFORTEST"

    assert run("create_api_key", "partner", "--key", key) == f"{key}\n"
    assert queries.has_api_key(key)
    with pytest.raises(CommandError, match="registered already"):
        run("create_api_key", "again", "--key", key)
    with pytest.raises(CommandError, match="20 to 256"):
        run("create_api_key", "weak", "--key", "short")
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("key", "is_accepted"),
    [
        ("k" * 19, False), ("k" * 20, True), ("k" * 256, True), ("k" * 257, False), ("!" * 10 + "~" * 10, True),
        ("k" * 20 + " ", False), ("k" * 20 + "\t", False), ("k" * 20 + "\x7f", False), ("k" * 20 + "é", False),
        ("", False),
    ],
)  # fmt: skip
def test_a_key_that_is_taken_over_has_20_to_256_visible_characters(key: str, is_accepted: bool) -> None:
    if is_accepted:
        assert operations.create_api_key(name="partner", key=key)[1] == key
    else:
        with pytest.raises(errors.InvalidApiKey):
            operations.create_api_key(name="partner", key=key)
    assert ApiKey.objects.count() == int(is_accepted)


@pytest.mark.django_db(transaction=True)
def test_a_use_is_not_noted_while_another_transaction_holds_the_row() -> None:
    operations.create_wallet(name="alice", password="test1234")
    operations.authenticate(name_or_id="alice", password="test1234")
    key, _ = operations.create_api_key(name="partner")
    token = BearerToken.objects.get()

    for held, free in ((key, token), (token, key)):
        ApiKey.objects.update(last_used_at=None)
        BearerToken.objects.update(last_used_at=None)
        with locked(f"SELECT FROM {held._meta.db_table} WHERE id = %s FOR NO KEY UPDATE", [held.pk]):
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '1ms'")
            try:
                operations.touch_last_used(api_key_id=key.pk, bearer_token_id=token.pk)
            finally:
                with connection.cursor() as cursor:
                    cursor.execute("RESET lock_timeout")
        held.refresh_from_db()
        free.refresh_from_db()
        assert held.last_used_at is None
        assert free.last_used_at is not None


def test_a_new_password_revokes_what_the_old_one_obtained() -> None:
    wallet = operations.create_wallet(name="alice", password="test1234")
    token = operations.authenticate(name_or_id="alice", password="test1234")

    operations.set_password(wallet=wallet, password="another")

    found = queries.credentials(api_key="", bearer=token)
    assert found.wallet is None
    assert operations.authenticate(name_or_id="alice", password="another")


def test_what_is_kept_for_a_limited_time_is_deleted_daily_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    operations.create_wallet(name="alice", password="test1234")
    kept, expired, revoked = (operations.authenticate(name_or_id="alice", password="test1234") for _ in range(3))
    long_ago = timezone.now() - timedelta(days=31)
    BearerToken.objects.filter(digest=queries.digest(expired)).update(expires_at=long_ago)
    BearerToken.objects.filter(digest=queries.digest(revoked)).update(revoked_at=long_ago)
    monkeypatch.setattr(operations, "_PURGED_AT_ONCE", 2)

    tasks.purge_expired()

    assert [bytes(token.digest) for token in BearerToken.objects.all()] == [queries.digest(kept)]
    assert run("purge_expired") == "0 bearer tokens deleted.\n"


def test_what_ended_within_the_kept_days_stays(settings: Any) -> None:
    """Each credential with each end before and after the limit: expired, ended by someone, both, and neither."""
    wallet = operations.create_wallet(name="alice")
    now = timezone.now()
    long_ago, lately, later = (now + timedelta(days=days) for days in (-7.01, -6.99, 1))
    settings.ENDED_TOKEN_DAYS = 7
    number = 0
    for expires_at in (long_ago, lately, later):
        for ended_at in (None, long_ago, lately):
            number += 1
            BearerToken.objects.create(
                wallet=wallet, prefix=str(number), digest=bytes([number]), expires_at=expires_at, revoked_at=ended_at
            )
            RestrictedKey.objects.create(
                wallet=wallet, prefix=str(number), digest=bytes([number]), expires_at=expires_at, ended_at=ended_at,
                name=str(number), scopes=["tokens:read"], wallet_ids=[wallet.pk],
            )  # fmt: skip
    RestrictedKey.objects.create(
        wallet=wallet, prefix="0", digest=b"0", name="0", scopes=["tokens:read"], wallet_ids=[wallet.pk]
    )

    assert operations.purge_expired() == 5

    left = ["4", "6", "7", "9"]
    assert sorted(BearerToken.objects.values_list("prefix", flat=True)) == left
    assert sorted(RestrictedKey.objects.values_list("prefix", flat=True)) == ["0", *left]


def test_an_api_key_that_ends_keeps_an_earlier_end() -> None:
    """Each key, valid or not, is ended at once and in an hour: its own row alone changes, and no end moves later."""
    now = timezone.now()
    ends: dict[str, dict[str, Any]] = {
        "valid": {}, "sooner": {"expires_at": now + timedelta(minutes=1)}, "later": {"expires_at": now + timedelta(1)},
        "expired": {"expires_at": now - timedelta(1)}, "revoked": {"revoked_at": now - timedelta(1)},
        "revoked later": {"revoked_at": now - timedelta(1), "expires_at": now + timedelta(1)},
    }  # fmt: skip
    for name, columns in ends.items():
        made, _ = operations.create_api_key(name=name)
        ApiKey.objects.filter(pk=made.pk).update(**columns)
    before = {row["name"]: row for row in ApiKey.objects.values()}

    def changed(act: Callable[[UUID], None]) -> dict[str, set[str]]:
        """The columns that change, by key; of each key alone."""
        found = {}
        for name, row in before.items():
            with transaction.atomic():
                act(row["id"])
                after = {each["name"]: each for each in ApiKey.objects.values()}
                transaction.set_rollback(True)
            assert after | {name: row} == before
            if columns := {column for column, value in row.items() if after[name][column] != value}:
                found[name] = columns
        return found

    in_an_hour = changed(lambda pk: operations.end_api_key(api_key_id=pk, after=timedelta(hours=1)))
    assert in_an_hour == {key: {"expires_at"} for key in ("valid", "later")}
    at_once = changed(lambda pk: operations.revoke_api_key(api_key_id=pk))
    assert at_once == {key: {"revoked_at"} for key in ("valid", "sooner", "later", "expired")}


def test_the_valid_restricted_keys_of_one_wallet_end_and_no_others() -> None:
    alice, bob = (operations.create_wallet(name=name, password="test1234") for name in ("alice", "bob"))
    now = timezone.now()
    past, later = now - timedelta(1), now + timedelta(1)
    rows: dict[str, tuple[Wallet, dict[str, Any]]] = {
        "valid": (alice, {}), "for a time": (alice, {"expires_at": later}), "expired": (alice, {"expires_at": past}),
        "ended": (alice, {"ended_at": past}), "ended later": (alice, {"ended_at": past, "expires_at": later}),
        "of bob": (bob, {}), "of bob for a time": (bob, {"expires_at": later}),
    }  # fmt: skip
    for number, (name, (wallet, columns)) in enumerate(rows.items()):
        RestrictedKey.objects.create(
            wallet=wallet, name=name, prefix=str(number), digest=bytes([number]), scopes=["tokens:read"],
            wallet_ids=[wallet.pk], **columns,
        )  # fmt: skip
    before = {row["name"]: row for row in RestrictedKey.objects.values()}

    def ended(act: Callable[[], object]) -> set[str]:
        with transaction.atomic():
            act()
            after = {row["name"]: row for row in RestrictedKey.objects.values()}
            found = {name for name, row in before.items() if after[name] != row}
            assert all(after[name] == row | {"ended_at": after[name]["ended_at"]} for name, row in before.items())
            events = Event.objects.filter(type=EventType.KEY_ENDED).values_list("wallet_id", "payload__keyName")
            assert set(events) == {(alice.pk, name) for name in found}
            transaction.set_rollback(True)
        return found

    both = {"valid", "for a time"}
    assert ended(lambda: operations.end_restricted_keys(wallet=alice)) == both
    for ends_keys, expected in ((True, both), (False, set())):
        change = partial(operations.set_password, wallet=alice, password="test5678", ends_keys=ends_keys)
        assert ended(change) == expected


def test_beat_rings_for_tasks_that_there_are_and_once_a_day_for_the_purge() -> None:
    rings = celery_settings.beat_schedule
    app.loader.import_default_modules()

    assert {ring["task"] for ring in rings.values()} <= set(app.tasks)
    (purge,) = (ring for ring in rings.values() if ring["task"] == tasks.purge_expired.name)
    assert (purge["schedule"].hour, purge["schedule"].minute) == ({3}, {17})


@pytest.mark.parametrize("by", ["name", "prefix", "pk"])
@pytest.mark.parametrize("hours", [None, 1, 0])
def test_a_rotated_key_is_valid_beside_its_successor_for_a_time(
    by: str, hours: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    old, old_text = operations.create_api_key(name="partner")
    ApiKey.objects.update(batch_access=False)
    other, _ = operations.create_api_key(name="other")
    before = timezone.now()

    options = [] if hours is None else ["--old-stays-valid", str(hours)]
    printed = run("rotate_api_key", str(getattr(old, by)), *options).strip()

    new = ApiKey.objects.exclude(pk__in=[old.pk, other.pk]).get()
    assert (new.name, new.batch_access, new.expires_at, new.revoked_at) == ("partner", False, None, None)
    assert bytes(new.digest) == queries.digest(printed)
    found = [queries.credentials(api_key=text, bearer="") for text in (printed, old_text)]
    assert [each.api_key_is_revoked for each in found] == [False, hours == 0]
    old.refresh_from_db()
    assert (old.revoked_at is None, old.expires_at is None) == ((False, True) if hours == 0 else (True, False))
    if old.expires_at is not None:
        assert timedelta(0) <= old.expires_at - before - timedelta(hours=hours or 24) < timedelta(minutes=1)
    other.refresh_from_db()
    assert (other.revoked_at, other.expires_at) == (None, None)
    # From the end of its time on it is like a revoked one.
    ApiKey.objects.filter(pk=old.pk).exclude(expires_at=None).update(expires_at=before - timedelta(hours=1))
    assert queries.credentials(api_key=old_text, bearer="").api_key_is_revoked
    (record,) = [each for each in caplog.records if each.name == "coppice.admin"]
    assert str(old.pk) in record.getMessage()
    assert str(new.pk) in record.getMessage()
    assert printed not in caplog.text


def test_a_key_that_cannot_be_rotated_is_refused() -> None:
    first, _ = operations.create_api_key(name="partner")
    second, _ = operations.create_api_key(name="partner")
    ended, _ = operations.create_api_key(name="ended")
    operations.revoke_api_key(api_key_id=ended.pk)
    before = list(ApiKey.objects.order_by("pk").values())

    for arguments, message in (
        (["partner"], f"2 valid API keys .*{first.pk}.*{second.pk}"),
        (["ended"], "No valid API key"),
        ([str(ended.pk)], "No valid API key"),
        (["nobody"], "No valid API key"),
        ([str(first.pk), "--old-stays-valid", "-1"], "from 0 to 2160"),
        ([str(first.pk), "--old-stays-valid", "2161"], "from 0 to 2160"),
    ):
        with pytest.raises(CommandError, match=message):
            run("rotate_api_key", *arguments)
    with pytest.raises(errors.ApiKeyEnded):
        api_key_rotation.rotate(api_key_id=ended.pk, overlap=timedelta(hours=1))
    assert list(ApiKey.objects.order_by("pk").values()) == before
