"""
The script of the demo. It uses HTTP only.

It does what a partner's program would do: nothing here imports a model or opens the database. Each step shows its
request line, the status of the response, and what it means.
"""

import itertools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from lockers.raida.letters import LETTERS
from lockers.raida.statuses import RAIDA_COUNT

POLL_SECONDS = 0.05
# A local upload takes a second or two. Every task has a deadline on the server; this limit only ends the demo when the
# worker has died.
TASK_SECONDS = 60
DEATH_SECONDS = 1.0
# After the task has ended, the server grid is updated until each server has answered, at most for this time.
BOARD_SECONDS = 10.0

# The colour of each letter of a server.
LETTER_STYLES: Mapping[str, str] = {
    "p": "green",
    "f": "red",
    "w": "cyan",
    "n": "yellow",
    "e": "magenta",
    "d": "magenta",
    "b": "magenta",
    "u": "bright_black",
}
BOARD_COLUMNS = 13
# To its first random digits: an id of version 7 begins with the time.
UUID = re.compile(r"\b([0-9a-f]{8}(?:-[0-9a-f]{4}-7[0-9a-f]{3})?)(?:-[0-9a-f]{4})+-[0-9a-f]{12}\b")
INDENT = 6


class DemoFailed(Exception):
    """A step of the demo failed. The message names it."""


@dataclass(frozen=True)
class Cast:
    """The server's URL, the partner's API key, and the wallets' passwords."""

    base_url: str
    api_key: str
    passwords: Mapping[str, str]


class Form(NamedTuple):
    """A multipart form: its fields, and its files in httpx's form."""

    fields: Mapping[str, str]
    files: Mapping[str, Any]


class Story:
    """
    Runs the demo against a running Coppice and shows it on `console`.

    `check` raises when a part of the system has stopped. It is called while a task runs, and after an unexpected
    response, before that is reported.

    :raises DemoFailed: from `play`, at the first unexpected response
    """

    def __init__(
        self, *, cast: Cast, coin_file: Path, console: Console, began: float, check: Callable[[], None]
    ) -> None:
        self.cast = cast
        self.coin_file = coin_file
        self.console = console
        self.began = began
        self.check = check
        self.step_number = 0
        self.bearers: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        # When the watched task was first seen as ended (monotonic).
        self.verdict_at = 0.0
        self.client = httpx.Client(
            # Ignore the proxies of the environment.
            base_url=cast.base_url,
            timeout=30,
            headers={"TREETRACKER-API-KEY": cast.api_key},
            trust_env=False,
        )

    def play(self) -> None:
        with self.client:
            try:
                self._act("Tokens", self._tokens)
                self._act("Locker", self._locker)
            except (LookupError, TypeError, ValueError) as error:
                raise DemoFailed(
                    f"The answer in step {self.step_number} has an unexpected format ({error!r})."
                ) from error

    # --- the two parts ---------------------------------------------------------------------

    def _tokens(self) -> None:
        for name in ("alice", "bob", "carol"):
            self._authenticate(name)

        wallets = self._call("alice", "GET /wallets?limit=100", "Alice lists the wallets she controls")
        if not any(wallet["name"] == "alice-nursery" for wallet in wallets["wallets"]):
            self._call("alice", "POST /wallets", "She opens one that she manages", body={"wallet": "alice-nursery"})
            wallets = self._call("alice", "GET /wallets?limit=100", "It is in her list now")
        self._show_table(
            ("wallet", "tokens", "available", "pending"),
            [
                (w["name"], w["tokens_in_wallet"], w["tokens_available"], w["tokens_pending"])
                for w in wallets["wallets"]
            ],
        )
        self._forget_earlier_trust()

        self._transfer("Five tokens to a wallet she manages complete at once", "alice-nursery", 5, must_be="completed")

        offered = self._transfer("Two tokens to Carol, a stranger, have to wait for her", "carol", 2, must_be="pending")
        accepted = self._call("carol", f"POST /transfers/{offered['id']}/accept", "Carol accepts them", body={})
        self._show_transfer(accepted, must_be="completed")

        trust = self._call(
            "alice",
            "POST /trust_relationships",
            "Alice asks Carol to let her send without asking",
            body={"trust_request_type": "send", "requestee_wallet": "carol"},
        )
        self._show_pairs(state=trust["state"], actor=trust["actor_wallet"], target=trust["target_wallet"])
        trust = self._call("carol", f"POST /trust_relationships/{trust['id']}/accept", "Carol trusts her", body={})
        self._must(trust["state"] == "trusted", f"the trust is {trust['state']!r}, not 'trusted'")
        self._show_pairs(state=trust["state"])

        trusted = self._transfer("The same transfer again completes at once", "carol", 2, must_be="completed")

        moved = self._call("carol", f"GET /transfers/{trusted['id']}/tokens?limit=10", "Which trees were they?")
        token_id = moved["tokens"][0]["id"]
        history = self._call(
            "carol", f"GET /tokens/{token_id}/transactions?limit=10", "One token's history, open to its holder"
        )
        self._show_table(
            ("when", "from", "to"),
            [(h["processed_at"], h["sender_wallet"], h["receiver_wallet"]) for h in history["history"]],
        )

    def _locker(self) -> None:
        imported = self._call(
            "alice",
            "POST /api/v1/import",
            f"Alice imports {self.coin_file.name} ({self.coin_file.stat().st_size:,} bytes, format 9)",
            form=Form(
                {"name": "alice", "tag": "demo"},
                {"file": (self.coin_file.name, self.coin_file.read_bytes(), "application/octet-stream")},
            ),
        )
        self._watch("alice", imported["id"], "Importing")
        wallet = self._call("alice", "GET /api/v1/wallets/alice", "Her coins, by denomination")
        self._show_table(("denomination", "coins"), list(wallet["denominations"].items()))
        self._show_pairs(balance=wallet["balance"])

        put = self._call(
            "alice",
            "POST /api/v1/locker",
            "She puts 20 into a locker on 25 servers",
            body={"name": "alice", "amount": 20, "tag": "for Bob"},
        )
        stored = self._watch("alice", put["id"], "Uploading")["data"]
        self.seconds["from the command to the finished upload"] = self.verdict_at - self.began
        self._must(stored["total_stored"] == 20, f"{stored['total_stored']} were stored, not 20")
        self._must(stored["total_failed"] == 0, f"{stored['total_failed']} failed")
        self._show_pairs(
            **{key: stored[key] for key in ("transmit_code", "receipt_id", "total_stored", "total_failed")}
        )
        code = stored["transmit_code"]

        peeked = self._peek(code, "Anyone who has the code can look inside")
        self._must(peeked["coins"]["total_value"] == 20, f"the locker holds {peeked['coins']['total_value']}, not 20")
        self._show_table(("denomination", "coins"), list(peeked["coins"]["denominations"].items()))

        taken = self._call(
            "bob",
            "POST /api/v1/locker/take",
            "Bob takes the coins out into his wallet",
            body={"name": "bob", "transmit_code": code, "tag": "from Alice"},
        )
        received = self._watch("bob", taken["id"], "Taking")["data"]
        self._must(received["total"] == 20, f"Bob got {received['total']}, not 20")
        self._show_pairs(total=received["total"], receipt_id=received["receipt_id"])

        empty = self._peek(code, "A second look finds nothing", expect=500)
        self._show_pairs(detail=empty["detail"], servers_that_saw_coins=empty["raida_success"])

    # --- steps ----------------------------------------------------------------------------

    def _act(self, name: str, play: Any) -> None:
        self.console.print()
        self.console.rule(f"[bold]{name}[/bold]", align="left", style="green")
        begun = time.monotonic()
        play()
        self.seconds[f"story: {name.lower()}"] = time.monotonic() - begun

    def _authenticate(self, name: str) -> None:
        answer = self._call(
            None,
            "POST /auth",
            f"{name.capitalize()} authenticates",
            body={"wallet": name, "password": self.cast.passwords[name]},
        )
        self.bearers[name] = answer["token"]

    def _transfer(self, title: str, receiver: str, size: int, *, must_be: str) -> dict[str, Any]:
        transfer = self._call(
            "alice",
            "POST /transfers",
            title,
            body={"sender_wallet": "alice", "receiver_wallet": receiver, "bundle": {"bundle_size": size}},
            expect=201 if must_be == "completed" else 202,
        )
        self._show_transfer(transfer, must_be=must_be)
        return transfer

    def _forget_earlier_trust(self) -> None:
        """Withdraw the trust of an earlier demo on the same data, so that Alice can request it again."""
        listed = self._send("alice", "GET /trust_relationships?limit=1000&request_type=send").json()
        for trust in listed["trust_relationships"]:
            if trust["target_wallet"] == "carol" and trust["state"] in {"requested", "trusted"}:
                self._call(
                    "alice", f"DELETE /trust_relationships/{trust['id']}", "She withdraws the trust of an earlier demo"
                )

    def _peek(self, code: str, title: str, expect: int = 200) -> dict[str, Any]:
        return self._call(
            "bob",
            f"GET /api/transactions/locker/peek?locker_key={code}",
            title,
            expect=expect,
            shown=f"GET /api/transactions/locker/peek?locker_key={code[:4]}…",
        )

    def _watch(self, who: str, task_id: str, verb: str) -> dict[str, Any]:
        """Poll a task until it is final, drawing its bar and the 25 servers; return its last answer."""
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=40), TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[seconds]:.1f} s", style="bright_black"), console=self.console,
        )  # fmt: skip
        line = bar.add_task(verb, total=100, seconds=0.0)
        request = f"GET /api/v1/task/{task_id}"
        self.console.print(Text(f"    {_short(request)}", style="cyan"))
        highest, begun = 0, time.monotonic()
        self.verdict_at = 0.0
        answer: dict[str, Any] = {}
        with Live(_board(bar, answer), console=self.console, refresh_per_second=20) as live:
            while True:
                answer = self._read(self._send(who, request), _short(request), expect=200)
                self._must(answer["progress"] >= highest, f"progress went back from {highest} to {answer['progress']}")
                highest = answer["progress"]
                if not self.verdict_at:
                    bar.update(line, completed=highest, seconds=time.monotonic() - begun)
                live.update(_board(bar, answer))
                if answer["status"] != "running":
                    self.verdict_at = self.verdict_at or time.time()
                    if not set("wu") & set(answer["raida"]) or time.time() - self.verdict_at > BOARD_SECONDS:
                        break
                    time.sleep(POLL_SECONDS)
                    continue
                self._must(
                    time.monotonic() - begun < TASK_SECONDS, f"the task was still running after {TASK_SECONDS} s"
                )
                self.check()
                time.sleep(POLL_SECONDS)
        if not self.console.is_terminal:
            # Only in a terminal does the last picture end its line.
            self.console.print()
        self._must(answer["status"] == "completed", f"{verb.lower()} ended with: {answer.get('message')}")
        self.seconds[f"  {verb.lower()}"] = time.monotonic() - begun - (time.time() - self.verdict_at)
        return answer

    def _call(
        self,
        who: str | None,
        request: str,
        title: str,
        *,
        body: Mapping[str, Any] | None = None,
        form: Form | None = None,
        expect: int = 200,
        shown: str = "",
    ) -> dict[str, Any]:
        self.step_number += 1
        self.console.print()
        self.console.print(Text.assemble((f"{self.step_number:>3} ", "bold green"), (title, "bold")))
        response = self._send(who, request, body=body, form=form)
        colour = "green" if response.status_code == expect else "bold red"
        self.console.print(
            Text.assemble(
                "    ",
                (shown or _short(request), "cyan"),
                "  →  ",
                # The words of the longest, Internal Server Error, do not fit into 80 columns.
                (f"{response.status_code} {response.reason_phrase if response.is_success else ''}".rstrip(), colour),
                (f"   {response.elapsed.total_seconds() * 1000:.0f} ms", "bright_black"),
            ),
            soft_wrap=True,
        )
        return self._read(response, shown or request, expect=expect)

    def _read(self, response: httpx.Response, request_line: str, *, expect: int) -> dict[str, Any]:
        if response.status_code != expect:
            self._look_for_the_dead()
            raise DemoFailed(f"{request_line} answered {response.status_code}: {_message_of(response)}")
        answer: dict[str, Any] = response.json()
        return answer

    def _send(
        self, who: str | None, request: str, *, body: Mapping[str, Any] | None = None, form: Form | None = None
    ) -> httpx.Response:
        """Send a request, given as its method and path."""
        headers = {"Authorization": f"Bearer {self.bearers[who]}"} if who else {}
        try:
            data, files = form or (None, None)
            return self.client.request(*request.split(" "), json=body, data=data, files=files, headers=headers)
        except httpx.HTTPError as error:
            self._look_for_the_dead()
            raise DemoFailed(f"{request} got no answer: {type(error).__name__}") from error

    def _look_for_the_dead(self) -> None:
        """Report a part that has stopped: its connections break a moment before its end can be seen."""
        deadline = time.monotonic() + DEATH_SECONDS
        while time.monotonic() < deadline:
            self.check()
            time.sleep(POLL_SECONDS)

    # --- showing --------------------------------------------------------------------------

    def _show_transfer(self, transfer: Mapping[str, Any], *, must_be: str) -> None:
        self._must(transfer["state"] == must_be, f"the transfer is {transfer['state']!r}, not {must_be!r}")
        self._show_pairs(
            state=transfer["state"], **{"from": transfer["source_wallet"], "to": transfer["destination_wallet"]}
        )

    def _show_pairs(self, **pairs: object) -> None:
        table = Table.grid(padding=(0, 2))
        for name, value in pairs.items():
            table.add_row(Text(name, style="bright_black"), Text(str(value)))
        self._show(table)

    def _show_table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bright_black")
        for name in head:
            table.add_column(name, justify="left" if name in {"wallet", "when", "from", "to"} else "right")
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self._show(table)

    def _show(self, what: RenderableType) -> None:
        self.console.print(Padding(what, (0, 0, 0, INDENT), expand=False))

    def _must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise DemoFailed(f"In step {self.step_number} {otherwise}.")


def _board(bar: Progress, answer: Mapping[str, Any]) -> RenderableType:
    """Draw the bar, the task's message, and one cell for each of the 25 servers."""
    letters = answer.get("raida") or ["u"] * RAIDA_COUNT
    cells = Table.grid(padding=(0, 1))
    drawn = [Text(f"{raida:>2}{LETTERS[letter].symbol}", LETTER_STYLES[letter]) for raida, letter in enumerate(letters)]
    for first in range(0, len(drawn), BOARD_COLUMNS):
        cells.add_row(*drawn[first : first + BOARD_COLUMNS])
    counted = [
        (f"{count} {LETTERS[letter].words}", style)
        for letter, style in LETTER_STYLES.items()
        if (count := sum(1 for each in letters if each == letter))
    ]
    said = Text("   ").join(
        [Text(answer.get("message") or "Waiting.", "bright_black"), *itertools.starmap(Text, counted)]
    )
    return Padding(Group(bar, cells, said), (0, 0, 0, INDENT), expand=False)


def _short(path: str) -> str:
    """Shorten ids, so that a line fits into 80 columns."""
    return UUID.sub(r"\1…", path)


def _message_of(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
