"""What operators did is only appended, once a confirmation; audits run one at a time and are written down."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, InternalError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from config import tasks
from config.ops import audits
from tests.concurrency.races import race
from wallets import audit, errors, operations, operator_log, reports
from wallets.models import AuditRun, OperatorAction, Wallet
from wallets.states import AuditResult, OperatorVerb

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Any:
    return operator_log.Operator(
        staff=get_user_model().objects.create_user("olga"), confirmation="c1", reason="asked by mail", request_id="r1"
    )


def note(operator: Any) -> Any:
    operator_log.begin(operator)
    return operator_log.record(
        operator, OperatorVerb.REVOKED_API_KEY, kind="api key", object_id=7, before={"a": 1}, after={"a": 2}
    )


def test_an_act_is_written_once_for_each_confirmation(operator: Any) -> None:
    first = note(operator)

    with pytest.raises(errors.AlreadyDone) as caught:
        note(operator)

    assert caught.value.args == (first.pk,)
    assert list(
        OperatorAction.objects.values_list(
            "staff__username", "verb", "object_kind", "object_id", "reason", "before", "after", "request_id"
        )
    ) == [("olga", "revoked_api_key", "api key", "7", "asked by mail", {"a": 1}, {"a": 2}, "r1")]


def test_the_actions_on_things_are_the_newest_of_any_of_them() -> None:
    made = []
    for number in range(4):
        staff = get_user_model().objects.create_user(f"olga{number}")
        operator = operator_log.Operator(staff=staff, confirmation=f"c{number}", reason="asked", request_id="r1")
        operator_log.begin(operator)
        concerns = [("wallet", 1)] if number == 1 else []
        made.append(
            operator_log.record(
                operator, OperatorVerb.REVOKED_API_KEY, kind="api key", object_id=1 + number // 2, concerns=concerns
            )
        )

    def found(*things: tuple[str, object], limit: int = 10) -> list[int]:
        return [made.index(each) for each in operator_log.acts_on(things, limit=limit)]

    assert found(("api key", 1)) == [1, 0]
    assert found(("api key", 2)) == [3, 2]
    assert found(("wallet", 1)) == [1]
    assert found(("wallet", 2)) == found() == []
    assert found(("wallet", 1), ("api key", 2)) == [3, 2, 1]
    assert found(("wallet", 1), ("api key", 2), limit=2) == [3, 2]


@pytest.mark.parametrize(
    "change", ["UPDATE wallets_operatoraction SET reason = ''", "DELETE FROM wallets_operatoraction"]
)
def test_the_log_of_operators_is_only_appended(operator: Any, change: str) -> None:
    note(operator)

    with pytest.raises(IntegrityError, match="only appended"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)


def test_an_audit_of_sound_books_is_sound(operator: Any) -> None:
    run = audits.run(staff=operator.staff, request_id="r2")

    assert (run.result, run.findings_count, run.findings, run.request_id) == ("sound", 0, [], "r2")
    assert run.finished_at is not None
    with pytest.raises(IntegrityError, match="never changes"), transaction.atomic():
        AuditRun.objects.update(findings=[1])


def test_an_audit_tells_what_it_found(caplog: pytest.LogCaptureFixture) -> None:
    wallet = Wallet.objects.create(name="alice", name_key="alice")
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO transfers_tokentally (wallet_id, tokens) VALUES (%s, 5)", [wallet.pk])

    run = audits.run()

    assert (run.result, run.findings_count) == ("unsound", 1)
    assert run.findings[0]["check"] == "the tallies agree with the tokens of each wallet"
    assert str(wallet.pk) in run.findings[0]["detail"]
    (line,) = [record for record in caplog.records if record.name == "coppice.audit"]
    assert (line.levelname, line.getMessage()) == ("ERROR", "{check}: {detail}".format(**run.findings[0]))


def test_why_an_audit_failed_is_shortened_to_its_column() -> None:
    run = operator_log.begin_audit()

    operator_log.fail_audit(run_id=run.pk, error="x" * 251)

    run.refresh_from_db()
    assert (run.result, run.error) == ("failed", "x" * 250)


@pytest.mark.parametrize("found", [199, 200, 201])
def test_an_audit_keeps_the_first_200_findings_and_counts_all(found: int) -> None:
    run = operator_log.begin_audit()
    findings = [audit.Finding("a check", f"row {number}") for number in range(found)]

    operator_log.finish_audit(run_id=run.pk, findings=findings)

    run.refresh_from_db()
    assert (run.result, run.findings_count, len(run.findings)) == ("unsound", found, min(found, 200))
    assert run.findings[-1] == {"check": "a check", "detail": f"row {min(found, 200) - 1}"}
    assert list(operator_log.audit_findings()) == []


def test_an_audit_that_does_not_hold_what_it_counted_is_found() -> None:
    """Findings were removed or added, or are no list any more."""
    one = {"check": "a check", "detail": "row 1"}
    for count, kept in ((1, [one]), (1, []), (1, [one, one]), (201, [one] * 200), (201, [one] * 201), (1, {})):
        AuditRun.objects.create(result=AuditResult.UNSOUND, findings_count=count, findings=kept, finished_at=Now())

    found = [each.detail.partition(" found ")[2] for each in operator_log.audit_findings()]
    assert found == [
        "1, 0 are there", "1, 2 are there", "201, 201 are there", "1, -1 are there",
    ]  # fmt: skip


def test_an_audit_that_was_closed_meanwhile_keeps_its_result() -> None:
    run = operator_log.begin_audit()
    operator_log.fail_audit(run_id=run.pk, error="its process ended")
    before = AuditRun.objects.values().get()

    operator_log.finish_audit(run_id=run.pk, findings=[audit.Finding("a check", "row 1")])
    operator_log.fail_audit(run_id=run.pk, error="another")

    assert AuditRun.objects.values().get() == before


@pytest.mark.parametrize("now", [{"a": 2}, {}, {"a": 1, "b": 2}, {"b": 1}, {"a": None}])
def test_a_confirmation_holds_while_nothing_is_other_than_it_showed(now: dict[str, Any]) -> None:
    operator_log.compare({"a": 1}, {"a": 1})
    with pytest.raises(errors.ChangedMeanwhile):
        operator_log.compare({"a": 1}, now)


@pytest.mark.django_db(transaction=True)
def test_an_audit_reads_as_of_one_moment_and_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def beside() -> Any:
        before = Wallet.objects.count()
        (made,) = race([lambda: operations.create_wallet(name="charlie").name])
        yield audit.Finding(made, f"{before} wallets, {Wallet.objects.count()} after a commit")
        with pytest.raises(InternalError, match="read-only transaction"), transaction.atomic():
            Wallet.objects.update(about="changed")

    monkeypatch.setattr(audits.operator_log, "audit_findings", beside)

    assert audits.findings() == [audit.Finding("charlie", "0 wallets, 0 after a commit")]
    assert Wallet.objects.get().about == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_of_all", [True, False])
def test_an_audit_of_new_rows_and_one_of_all_run_beside_each_other(
    is_of_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, beside = audits._findings, list[object]()

    def noted(cursor: Any, *, is_of_all: bool) -> Any:
        if not beside:
            beside.append(None)
            (refused,) = race([lambda: audits.findings(is_of_all=is_of_all)])
            assert isinstance(refused, errors.AuditIsRunning)
            beside.extend(race([lambda: audits.findings(is_of_all=not is_of_all)]))
        return inner(cursor, is_of_all=is_of_all)

    monkeypatch.setattr(audits, "_findings", noted)

    assert audits.findings(is_of_all=is_of_all) == []
    assert beside == [None, []]


def test_audits_run_one_at_a_time() -> None:
    first = operator_log.begin_audit()

    with pytest.raises(errors.AuditIsRunning):
        audits.run()

    assert list(AuditRun.objects.values_list("pk", "result")) == [(first.pk, "running")]


def test_an_audit_whose_process_is_gone_gives_way() -> None:
    long_ago = timezone.now() - timedelta(seconds=operator_log.AUDIT_IS_DEAD_AFTER_SECONDS + 1)
    of_all = AuditRun.objects.create(started_at=long_ago)
    dead = AuditRun.objects.create(started_at=long_ago, is_of_all=False)

    audits.run(is_of_all=False)

    dead.refresh_from_db()
    assert (dead.result, dead.error) == (AuditResult.FAILED, "its process ended")
    assert AuditRun.objects.latest("id").result == AuditResult.SOUND
    # One of all history takes longer.
    of_all.refresh_from_db()
    assert of_all.result == AuditResult.RUNNING
    AuditRun.objects.filter(pk=of_all.pk).update(
        started_at=timezone.now() - timedelta(seconds=operator_log.AUDIT_OF_ALL_IS_DEAD_AFTER_SECONDS + 60)
    )
    audits.run()
    of_all.refresh_from_db()
    assert (of_all.result, of_all.error) == (AuditResult.FAILED, "its process ended")


def test_an_audit_that_breaks_is_written_down_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(audits.transfers, "audit_findings", broken)

    with pytest.raises(RuntimeError, match="no"):
        audits.run()

    assert list(AuditRun.objects.values_list("result", "error")) == [("failed", "RuntimeError")]


def test_the_clock_audits_when_the_last_one_is_long_ago(settings: Any) -> None:
    tasks.audit()
    tasks.audit()
    assert AuditRun.objects.count() == 1

    AuditRun.objects.all().delete()
    AuditRun.objects.create(
        result="sound",
        started_at=timezone.now() - timedelta(minutes=settings.AUDIT_EVERY_MINUTES, seconds=1),
        finished_at=timezone.now(),
    )
    tasks.audit()
    assert AuditRun.objects.count() == 2


@pytest.mark.parametrize(
    ("result", "seconds", "is_due"),
    [
        ("failed", 0, False), ("failed", 55, False), ("failed", 65, True), ("sound", 65, False),
        ("unsound", 65, False), ("running", 65, False),
    ],
)  # fmt: skip
def test_the_clock_audits_again_a_minute_after_one_that_failed(result: str, seconds: int, is_due: bool) -> None:
    then = timezone.now() - timedelta(seconds=seconds)
    AuditRun.objects.create(
        result=result,
        findings_count=int(result == "unsound"),
        started_at=then,
        finished_at=None if result == "running" else then,
    )

    assert audits.is_due() is is_due


def test_the_clock_never_audits_if_the_settings_say_so(settings: Any) -> None:
    settings.AUDIT_EVERY_MINUTES = 0

    tasks.audit()

    assert not AuditRun.objects.exists()


@pytest.mark.parametrize(
    ("hour", "now", "started", "is_of_all", "result", "is_due"),
    [
        (2, "2026-11-30 02:00Z", None, True, None, True),
        (2, "2026-11-30 02:00Z", "2026-11-30 01:59Z", True, AuditResult.SOUND, True),
        (2, "2026-11-30 02:00Z", "2026-11-30 02:00Z", True, AuditResult.UNSOUND, False),
        (2, "2026-11-30 01:59Z", "2026-11-29 02:00Z", True, AuditResult.SOUND, False),
        (2, "2026-11-30 01:59Z", "2026-11-29 01:59Z", True, AuditResult.SOUND, True),
        (2, "2026-11-30 03:00Z", "2026-11-30 02:30Z", False, AuditResult.SOUND, True),
        (2, "2026-11-30 03:00Z", "2026-11-30 02:30Z", True, AuditResult.FAILED, True),
        (2, "2026-11-30 03:00Z", "2026-11-30 02:30Z", True, AuditResult.RUNNING, False),
        (-1, "2026-11-30 03:00Z", None, True, None, False),
    ],
)
def test_the_audit_of_all_is_due_once_a_day(
    settings: Any, monkeypatch: pytest.MonkeyPatch, hour: int, now: str, started: str | None, is_of_all: bool,
    result: str | None, is_due: bool,
) -> None:  # fmt: skip
    settings.FULL_AUDIT_HOUR = hour
    monkeypatch.setattr(audits.timezone, "now", lambda: datetime.fromisoformat(now))
    if started is not None:
        AuditRun.objects.create(
            started_at=started,
            is_of_all=is_of_all,
            result=result,
            findings_count=int(result == AuditResult.UNSOUND),
            findings=[{}] if result == AuditResult.UNSOUND else [],
            finished_at=None if result == AuditResult.RUNNING else started,
        )
    assert audits.is_of_all_due() is is_due


def test_what_an_audit_of_all_found_counts_until_the_next_finds_nothing() -> None:
    def ended(*, is_of_all: bool, is_sound: bool) -> int:
        run = operator_log.begin_audit(is_of_all=is_of_all)
        operator_log.finish_audit(run_id=run.pk, findings=[] if is_sound else [audit.Finding("a rule", "a row")])
        return run.pk

    assert reports.deciding_audit() is None
    ended(is_of_all=True, is_sound=True)
    last = ended(is_of_all=False, is_sound=False)
    assert reports.deciding_audit().pk == last
    last = ended(is_of_all=False, is_sound=True)
    assert reports.deciding_audit().pk == last
    of_all = ended(is_of_all=True, is_sound=False)
    ended(is_of_all=False, is_sound=True)
    running = operator_log.begin_audit(is_of_all=True)
    assert reports.deciding_audit().pk == of_all
    # One that did not end found nothing out.
    operator_log.fail_audit(run_id=running.pk, error="no")
    assert reports.deciding_audit().pk == of_all
    last = ended(is_of_all=True, is_sound=True)
    assert reports.deciding_audit().pk == last
