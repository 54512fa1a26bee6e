"""Acts that a second operator approves: who may, when, on what, and that nothing happens before."""

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from config.admin import four_eyes, roles
from config.admin.actions import registry
from config.admin.kinds import PERSON
from config.admin.models import Proposal
from config.admin.states import ProposalState
from transfers import counters
from wallets import errors
from wallets.models import ApiKey, OperatorAction, Token, Wallet
from wallets.operator_log import Operator
from wallets.states import OperatorVerb

# The acts that one operator does alone, whatever the settings say.
ALONE = {
    "create-wallet", "set-password", "revoke-bearer-tokens", "check-coins", "revoke-bearer-token", "revoke-api-key",
    "end-trust", "cancel-transfer", "cancel-payment-request", "cancel-action-token", "mark-task-seen",
    "disable-webhook", "enable-webhook", "test-webhook", "resend-delivery", "run-audit", "rehearse-outage",
    "create-person", "change-role", "change-mail", "change-active", "set-person-password", "reset-second-factor",
    "end-sessions", "end-session", "acknowledge-alert", "end-restricted-key", "end-restricted-keys",
    "pseudonymise-wallet",
}  # fmt: skip


class Person:
    """An administrator with a browser."""

    def __init__(self, name: str, *, is_superuser: bool = False, role: str = roles.ADMINISTRATOR) -> None:
        make = User.objects.create_superuser if is_superuser else User.objects.create_user
        self.user = make(name, password="a long password", **({} if is_superuser else {"is_staff": True}))
        if not is_superuser:
            self.user.groups.add(Group.objects.get(name=role))
        self.client = Client()
        self.client.force_login(self.user)

    def confirm(self, act: str, values: dict[str, str], *args: object) -> Any:
        """Go through the pages of an act as far as its confirmation."""
        url = reverse(f"admin:{act}", args=args)
        reviewed = self.client.post(url, {"step": "review", **values})
        assert reviewed.status_code == 200
        sent = {"step": "confirm", "ticket": reviewed.context["ticket"], "reason": "as asked", **values}
        return self.client.post(url, sent)

    def opened(self, proposal: Proposal) -> Any:
        return self.client.get(reverse("admin:proposal", args=[proposal.pk]))

    def approve(self, proposal: Proposal, *, ticket: str | None = None) -> Any:
        ticket = self.opened(proposal).context["ticket"] if ticket is None else ticket
        url = reverse("admin:proposal", args=[proposal.pk])
        return self.client.post(url, {"step": "confirm", "ticket": ticket, "reason": "looks right"})

    def refuse(self, proposal: Proposal) -> Any:
        return self.client.post(
            reverse("admin:proposal", args=[proposal.pk]), {"step": "refuse", "reason": "not today"}
        )


@pytest.fixture
def team(db: None, ledger: SimpleNamespace, settings: Any) -> SimpleNamespace:
    """Two administrators, and a rule: more than 5 tokens need both, and so do API keys."""
    roles.ensure()
    settings.FOUR_EYES_ISSUE_ABOVE = 5
    settings.FOUR_EYES_KEYS = True
    return SimpleNamespace(mia=Person("mia"), otto=Person("otto"), alice=ledger.alice, key=ledger.key)


def held(wallet: Wallet) -> tuple[int, int]:
    return counters.token_counts([wallet.pk])[wallet.pk].total, Token.objects.filter(wallet=wallet).count()


def proposed(team: SimpleNamespace, count: int = 9) -> Proposal:
    before = held(team.alice)
    response = team.mia.confirm("issue-tokens", {"count": str(count)}, team.alice.pk)
    made = Proposal.objects.latest("created_at")
    assert (response.status_code, response["Location"]) == (302, reverse("admin:proposal", args=[made.pk]))
    assert held(team.alice) == before
    return made


def log_of(proposal: Proposal) -> list[tuple[str, str]]:
    found = OperatorAction.objects.filter(things__contains=[f"proposal:{proposal.pk}"]).order_by("pk")
    return [(action.staff.get_username(), action.verb) for action in found]


def test_each_act_of_the_desk_is_covered_or_is_done_alone() -> None:
    names = [action.name for action in registry.ALL]

    assert sorted([*four_eyes.COVERED, *ALONE]) == sorted(names)


def test_the_second_operator_does_the_act_and_the_first_does_nothing(team: SimpleNamespace) -> None:
    made = proposed(team)
    total, _ = held(team.alice)

    page = team.otto.opened(made)
    assert page.context["consequences"] == made.shown
    assert page.context["because"] == ""
    response = team.otto.approve(made)

    assert response.status_code == 302
    assert held(team.alice) == (total + 9, total + 9)
    made.refresh_from_db()
    assert (made.state, made.decided_by, made.given) == ("approved", team.otto.user, None)
    assert log_of(made) == [("mia", "proposed"), ("otto", "issued_tokens")]
    done = OperatorAction.objects.latest("pk")
    assert (done.reason, done.after["proposed_by"], done.after["proposed_for"], done.after["issued"]) == (
        "looks right", "mia", "as asked", 9,
    )  # fmt: skip


def test_an_act_below_the_limit_and_one_with_the_rule_off_need_nobody(team: SimpleNamespace, settings: Any) -> None:
    before = held(team.alice)[0]
    team.mia.confirm("issue-tokens", {"count": "5"}, team.alice.pk)
    assert held(team.alice)[0] == before + 5
    settings.FOUR_EYES_ISSUE_ABOVE = -1
    team.mia.confirm("issue-tokens", {"count": "6"}, team.alice.pk)

    assert held(team.alice)[0] == before + 11
    assert not Proposal.objects.exists()


def test_a_file_counts_like_a_number(team: SimpleNamespace) -> None:
    before = held(team.alice)
    listed = " ".join(str(UUID(int=each)) for each in range(1, 7))

    team.mia.confirm("issue-tokens", {"captures": listed}, team.alice.pk)

    assert held(team.alice) == before
    made = Proposal.objects.get()
    assert str(UUID(int=1)).encode() not in bytes(made.given or b"")
    assert team.otto.approve(made).status_code == 302
    assert Token.objects.filter(capture_id=UUID(int=6), wallet=team.alice).exists()


@pytest.mark.parametrize("is_superuser", [False, True])
def test_the_proposer_cannot_approve_whoever_it_is(team: SimpleNamespace, is_superuser: bool) -> None:
    team.mia = Person("proposer", is_superuser=is_superuser)
    made = proposed(team)
    before = held(team.alice)

    page = team.mia.opened(made)
    assert page.context["ticket"] == ""
    # Also with a ticket for the same act and input, which a confirmation page gives.
    reviewed = team.mia.client.post(
        reverse("admin:issue-tokens", args=[team.alice.pk]), {"step": "review", "count": "9"}
    )
    response = team.mia.approve(made, ticket=reviewed.context["ticket"])

    assert response.status_code == 409
    assert "you proposed it" in response.content.decode()
    assert held(team.alice) == before
    made.refresh_from_db()
    assert made.state == "open"


def test_a_ticket_of_the_proposer_is_none_of_the_second_operator(team: SimpleNamespace) -> None:
    made, before = proposed(team), held(team.alice)
    reviewed = team.mia.client.post(
        reverse("admin:issue-tokens", args=[team.alice.pk]), {"step": "review", "count": "9"}
    )

    assert team.otto.approve(made, ticket=reviewed.context["ticket"]).status_code == 409
    assert team.otto.approve(made, ticket="forged").status_code == 409
    assert held(team.alice) == before


def test_one_approval_has_one_effect(team: SimpleNamespace) -> None:
    made = proposed(team)
    ticket = team.otto.opened(made).context["ticket"]
    lena = Person("lena")
    other = lena.opened(made).context["ticket"]

    assert team.otto.approve(made, ticket=ticket).status_code == 302
    after = held(team.alice)
    assert team.otto.approve(made, ticket=ticket).status_code == 409
    assert lena.approve(made, ticket=other).status_code == 409
    assert held(team.alice) == after


def test_what_changed_since_it_was_shown_is_shown_again(team: SimpleNamespace) -> None:
    made = proposed(team)
    ticket = team.otto.opened(made).context["ticket"]
    team.otto.confirm("issue-tokens", {"count": "1"}, team.alice.pk)
    before = held(team.alice)

    response = team.otto.approve(made, ticket=ticket)

    assert response.status_code == 409
    assert "Something changed" in response.content.decode()
    assert held(team.alice) == before
    assert team.otto.approve(made, ticket=response.context["ticket"]).status_code == 302


def lapse(team: SimpleNamespace, made: Proposal) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE desk_proposal SET expires_at = clock_timestamp() WHERE id = %s", [made.pk])


def lose_the_role(team: SimpleNamespace, made: Proposal) -> None:
    team.mia.user.groups.set([Group.objects.get(name=roles.OPERATOR)])


def lose_and_regain(team: SimpleNamespace, made: Proposal) -> None:
    for role in (roles.VIEWER, roles.ADMINISTRATOR):
        assert team.otto.confirm("change-role", {"role": role}, team.mia.user.pk).status_code == 302


def be_deactivated(team: SimpleNamespace, made: Proposal) -> None:
    team.mia.user.is_active = False
    team.mia.user.save()


def be_no_staff(team: SimpleNamespace, made: Proposal) -> None:
    User.objects.filter(pk=team.mia.user.pk).update(is_staff=False)


def be_refused(team: SimpleNamespace, made: Proposal) -> None:
    assert team.otto.refuse(made).status_code == 302


def be_withdrawn(team: SimpleNamespace, made: Proposal) -> None:
    assert team.mia.refuse(made).status_code == 302


def lose_the_key(team: SimpleNamespace, made: Proposal) -> None:
    Proposal.objects.filter(pk=made.pk).update(given=b"\0" * 40)


@pytest.mark.parametrize(
    "happening",
    [lapse, lose_the_role, lose_and_regain, be_deactivated, be_no_staff, be_refused, be_withdrawn, lose_the_key],
)
def test_a_proposal_that_is_no_longer_good_is_not_approved(
    team: SimpleNamespace, happening: Callable[[SimpleNamespace, Proposal], None]
) -> None:
    made = proposed(team)
    ticket = team.otto.opened(made).context["ticket"]
    happening(team, made)
    before = held(team.alice)

    response = team.otto.approve(made, ticket=ticket)

    assert response.status_code == 409
    assert response.context["ticket"] == ""
    assert held(team.alice) == before
    voided: list[Any] = [lose_the_role, lose_and_regain, be_deactivated, be_no_staff]
    expected = dict.fromkeys(voided, "void") | {lapse: "expired"}
    assert response.context["state"] == expected.get(happening, "open" if happening is lose_the_key else "refused")


def test_a_proposal_that_has_expired_waits_for_no_one(team: SimpleNamespace) -> None:
    first, second = proposed(team), proposed(team)
    assert four_eyes.open_count() == 2

    lapse(team, first)

    assert four_eyes.open_count() == 1
    assert Proposal.objects.filter(pk__in=[first.pk, second.pk], state=ProposalState.OPEN).count() == 2


def test_an_approver_whose_role_lacks_the_act_does_nothing(team: SimpleNamespace) -> None:
    made, before = proposed(team), held(team.alice)
    for role in (roles.VIEWER, roles.OPERATOR):
        other = Person(f"a-{role}", role=role)
        assert other.opened(made).status_code == 403
        assert other.approve(made, ticket="x").status_code == 403
        assert other.refuse(made).status_code == 403
        assert other.client.get(reverse("admin:proposals")).status_code == 200

    made.refresh_from_db()
    assert (made.state, held(team.alice)) == ("open", before)


def test_an_account_that_the_proposer_made_lately_is_no_second_person(team: SimpleNamespace) -> None:
    created = team.mia.confirm("create-person", {"name": "sock", "mail": "", "role": roles.ADMINISTRATOR})
    assert created.status_code == 200
    sock = User.objects.get(username="sock")
    made, before = proposed(team), held(team.alice)
    puppet = Client()
    puppet.force_login(sock)
    url = reverse("admin:proposal", args=[made.pk])
    reviewed = puppet.post(reverse("admin:issue-tokens", args=[team.alice.pk]), {"step": "review", "count": "9"})

    response = puppet.post(url, {"step": "confirm", "ticket": reviewed.context["ticket"], "reason": "sure"})

    assert response.status_code == 409
    assert "the person who proposed it created or changed your account" in response.content.decode()
    assert held(team.alice) == before
    # Nor does setting the password of another make one.
    team.mia.confirm("set-person-password", {}, team.otto.user.pk)
    team.otto.client.force_login(User.objects.get(pk=team.otto.user.pk))
    assert team.otto.opened(made).context["ticket"] == ""


def logged(by: User, verb: str, whom: User, at: datetime) -> None:
    things = [f"{PERSON}:{whom.pk}"]
    OperatorAction.objects.create(
        staff=by, verb=verb, object_kind=PERSON, object_id=str(whom.pk), things=things, created_at=at,
        confirmation=uuid4().hex,
    )  # fmt: skip


def test_which_acts_make_a_person_no_second_and_which_take_a_right(team: SimpleNamespace) -> None:
    """Each verb of the log, by whom, on whom, and when: on both sides of each condition."""
    made = proposed(team)
    made.refresh_from_db()
    mia, otto, third = team.mia.user, team.otto.user, Person("third").user
    action = registry.by_name("issue-tokens")
    proposed_at, moment = made.created_at, timedelta(microseconds=1)
    a_day_before = proposed_at - timedelta(days=1)

    def is_second(by: User, verb: str, whom: User, at: datetime) -> bool:
        with transaction.atomic():
            logged(by, verb, whom, at)
            found = four_eyes.why_not(made, otto) == ""
            transaction.set_rollback(True)
        return found

    def has_right(by: User, verb: str, whom: User, at: datetime) -> bool:
        with transaction.atomic():
            logged(by, verb, whom, at)
            found = four_eyes._has_right(made, action, mia, team.alice)
            transaction.set_rollback(True)
        return found

    assert {verb.value for verb in OperatorVerb if not is_second(mia, verb.value, otto, proposed_at)} == {
        "created_person", "changed_role", "changed_mail", "activated_person", "set_person_password",
        "reset_second_factor",
    }  # fmt: skip
    assert {verb.value for verb in OperatorVerb if not has_right(otto, verb.value, mia, proposed_at)} == {
        "changed_role", "deactivated_person",
    }  # fmt: skip
    others = [(third, otto, proposed_at), (mia, third, proposed_at), (mia, otto, a_day_before - moment)]
    assert [is_second(by, "changed_role", whom, at) for by, whom, at in others] == [True] * 3
    assert not is_second(mia, "changed_role", otto, a_day_before)
    assert has_right(otto, "changed_role", third, proposed_at)
    assert has_right(otto, "changed_role", mia, proposed_at - moment)


@pytest.mark.parametrize(("active", "title"), [("no", "Deactivate: vera"), ("yes", "Activate: vera")])
def test_a_proposal_is_called_what_was_meant_also_when_it_was_done(
    team: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, active: str, title: str
) -> None:
    monkeypatch.setitem(four_eyes.COVERED, "change-active", lambda values: True)
    vera = Person("vera", role=roles.VIEWER).user
    User.objects.filter(pk=vera.pk).update(is_active=active == "no")
    reviewed = team.mia.client.post(
        reverse("admin:change-active", args=[vera.pk]), {"step": "review", "active": active}
    )
    assert reviewed.context["title"] == title

    assert team.mia.confirm("change-active", {"active": active}, vera.pk).status_code == 302

    made = Proposal.objects.get()
    logged = OperatorAction.objects.get(verb="proposed")
    assert (made.title, logged.after["action"]) == (title, title.partition(":")[0])
    assert team.otto.approve(made).status_code == 302
    # The account would now be called the opposite.
    page = team.otto.opened(made).content.decode()
    assert f"Proposal: {title}" in page
    assert f"<td>{title} " in page
    assert "Deactivate or activate" not in page


def test_the_refusal_of_a_proposal_names_its_state_within_a_sentence(team: SimpleNamespace) -> None:
    made = proposed(team)
    for state in ProposalState:
        made.state = state
        assert four_eyes.why_not_open(made) == ("" if state == "open" else f"the proposal is {state.value}")


def test_a_refusal_itself_checks_the_right_and_the_state(team: SimpleNamespace) -> None:
    action = registry.by_name("issue-tokens")
    made = proposed(team)

    def refuse(user: User) -> Proposal:
        operator = Operator(user, confirmation=uuid4().hex, reason="as asked")
        return four_eyes.refuse(proposal_id=made.pk, action=action, operator=operator, row=team.alice)

    with pytest.raises(errors.NotPossible, match="Your role does not allow"):
        refuse(Person("vera", role=roles.VIEWER).user)
    assert Proposal.objects.get(pk=made.pk).state == "open"
    # Who made it may withdraw it, also without the right.
    team.mia.user.groups.clear()
    assert refuse(User.objects.get(pk=team.mia.user.pk)).state == "refused"
    with pytest.raises(errors.NotPossible, match=r"the proposal is refused\.$"):
        refuse(team.otto.user)
    assert log_of(made) == [("mia", "proposed"), ("mia", "refused_proposal")]


@pytest.mark.parametrize(
    ("mails", "is_second"), [(("Mia@coppice.example", "mia@Coppice.example"), False), (("", ""), True)]
)
def test_two_accounts_with_one_address_are_one_person(
    team: SimpleNamespace, mails: tuple[str, str], is_second: bool
) -> None:
    """A person with a password has an account of the OpenID Connect provider too."""
    for person, mail in zip((team.mia, team.otto), mails, strict=True):
        User.objects.filter(pk=person.user.pk).update(email=mail)
    made, before = proposed(team), held(team.alice)

    shown = team.otto.opened(made)

    assert bool(shown.context["ticket"]) == is_second
    assert ("you and the person who proposed it have the same mail address" in shown.content.decode()) != is_second
    assert held(team.alice) == before


def test_a_new_key_is_shown_to_the_second_operator_alone(team: SimpleNamespace) -> None:
    keys = ApiKey.objects.count()
    first = team.mia.confirm("create-api-key", {"name": "shop"})
    assert (first.status_code, ApiKey.objects.count()) == (302, keys)
    made = Proposal.objects.get()

    second = team.otto.approve(made)

    key = ApiKey.objects.get(name="shop")
    assert second.status_code == 200
    assert key.prefix in second.content.decode()
    assert key.prefix not in team.mia.opened(made).content.decode()
    rotated = team.mia.confirm("rotate-api-key", {"old_stays_valid": "0"}, team.key.pk)
    assert (rotated.status_code, ApiKey.objects.get(pk=team.key.pk).revoked_at) == (302, None)


def test_a_refusal_is_logged_with_its_reason(team: SimpleNamespace) -> None:
    made = proposed(team)

    assert team.otto.refuse(made).status_code == 302
    assert team.otto.refuse(made).status_code == 409

    assert log_of(made) == [("mia", "proposed"), ("otto", "refused_proposal")]
    assert OperatorAction.objects.latest("pk").reason == "not today"
    made.refresh_from_db()
    assert (made.state, made.given) == ("refused", None)
    assert "refused" in team.otto.client.get(reverse("admin:proposals")).content.decode()


def test_the_log_of_a_proposal_names_its_row_and_its_act(team: SimpleNamespace) -> None:
    made = proposed(team)
    team.otto.refuse(made)

    first, last = OperatorAction.objects.filter(things__contains=[f"proposal:{made.pk}"]).order_by("pk")

    for row, label in ((first, "alice"), (last, made.title)):
        assert (row.object_kind, row.object_id, row.object_label) == ("wallet", str(team.alice.pk), label)
        assert row.things == [f"wallet:{team.alice.pk}", f"proposal:{made.pk}"]
    assert first.after == {"action": "Issue tokens", "will": made.shown, "expires_at": made.expires_at.isoformat()}
    assert first.before == {"captures_issued_already": 0, "issues_by_operators": 1}
    assert (last.before, last.after) == (
        {"action": "Issue tokens", "proposed_by": "mia", "reason": first.reason}, {"state": "refused"},
    )  # fmt: skip


def test_a_proposal_without_a_reason_is_neither_approved_nor_refused(team: SimpleNamespace) -> None:
    made = proposed(team)
    url = reverse("admin:proposal", args=[made.pk])
    ticket = team.otto.opened(made).context["ticket"]

    for step in ("confirm", "refuse"):
        assert team.otto.client.post(url, {"step": step, "ticket": ticket, "reason": "  "}).status_code == 400

    made.refresh_from_db()
    assert made.state == "open"


def test_vault_acts_wait_by_their_own_setting(team: SimpleNamespace, ledger: SimpleNamespace, settings: Any) -> None:
    settings.FOUR_EYES_VAULT = True
    tasks = ledger.alice.locker_tasks.count()

    response = team.mia.confirm("start-find", {}, ledger.alice.pk)

    assert (response.status_code, ledger.alice.locker_tasks.count()) == (302, tasks)
    assert Proposal.objects.get().action == "start-find"


def test_an_open_proposal_is_announced_to_all(team: SimpleNamespace) -> None:
    assert "proposals" in team.otto.client.get(reverse("admin:index")).content.decode()
    proposed(team)
    assert "proposals (1)" in team.otto.client.get(reverse("admin:index")).content.decode()
    assert timedelta(days=1) == four_eyes.LIFETIME


@pytest.mark.parametrize("who", ["proposer", "role", "row", "action"])
def test_the_act_itself_checks_proposer_approver_and_subject(
    team: SimpleNamespace, ledger: SimpleNamespace, who: str
) -> None:
    made, before = proposed(team), held(team.alice)
    of_bob = Token.objects.filter(wallet=ledger.bob).count()
    if who == "role":
        # Lost after the page was opened, and before the act.
        team.mia.user.groups.clear()
    approver = team.mia.user if who == "proposer" else team.otto.user
    row = ledger.bob if who == "row" else team.alice
    action = registry.by_name("set-password" if who == "action" else "issue-tokens")
    values = {"count": 9, "captures": ""}
    operator = Operator(approver, confirmation=uuid4().hex, reason="as asked")
    of_another = "is for another action" if who in {"row", "action"} else "not possible|no longer has"

    with pytest.raises(errors.NotPossible, match=of_another):
        action.run(operator, row, values, action.snapshot(row, values), proposal_id=made.pk)

    assert (held(team.alice), Token.objects.filter(wallet=ledger.bob).count()) == (before, of_bob)
    assert Proposal.objects.get(pk=made.pk).state == "open"
    assert not OperatorAction.objects.filter(confirmation=operator.confirmation).exists()


@pytest.mark.parametrize(("limit", "most"), [(-1, None), (0, 0), (5, 5)])
def test_more_tokens_than_the_limit_need_a_second_operator(settings: Any, limit: int, most: int | None) -> None:
    """By number and by file; a negative limit is none."""
    settings.FOUR_EYES_ISSUE_ABOVE = limit
    action = registry.by_name("issue-tokens")
    for number in (1, 5, 6):
        listed = " ".join(str(uuid4()) for _ in range(number))
        for values in ({"count": number, "captures": ""}, {"count": None, "captures": listed}):
            assert four_eyes.is_covered(action, values) is (most is not None and number > most), (number, values)
