"""The endpoint `/events`."""

from rest_framework.request import Request

from config.api import pagination
from config.api.authentication import caller
from config.api.errors import Invalid
from config.api.openapi import PAGE, Takes, describe
from config.api.renderers import Response
from config.api.treetracker import event_serializers
from config.api.views import ApiViewSet
from config.postgresql import replica
from transfers import errors as transfer_errors
from transfers import events
from wallets import errors as wallet_errors


class EventViewSet(ApiViewSet):
    """What happened to the caller's wallet and to the wallets that it manages."""

    @describe(
        "events.list",
        "List events",
        answers=event_serializers.EVENT_PAGE,
        takes=Takes(query={**PAGE, **event_serializers.FILTERS}),
        refusals=[
            wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody"),
            wallet_errors.InvalidWalletName("invalid wallet name:no body"),
            wallet_errors.WalletNotControlled("Wallet do not belongs to wallet logged in"),
            Invalid('"since" must be in ISO 8601 date format'),
            transfer_errors.EventsExpired(),
        ],
        tag="events",
    )
    def list(self, request: Request) -> Response:
        """
        Lists what happened to the caller's wallet and to the wallets that it manages, or to the one of them that
        `wallet` names: the oldest first, each once. The `Link` header of a page names the next one (`rel="next"`). The
        last page names the events that will come after it (`rel="monitor"`): request this URL until it has some. A
        client that follows both misses no event and reads none twice. If the operator keeps events for a number of days
        only, the first page begins with the oldest that is kept, and a cursor after which events have been removed is
        refused with 410 `events_expired`.
        """
        page = pagination.read(request, event_serializers.FILTERS, scope="events")
        wallet_ids = events.wallets_of(actor_id=caller(request).pk, wallet=page.values.get("wallet"))
        rows, end = replica.read(
            lambda _: events.page_of(
                wallet_ids,
                since=page.values.get("since"),
                limit=page.fetch,
                offset=page.offset,
                after=page.position,
            ),
            # So that an answer of the replica is the one that the primary would give.
            unless=lambda found: events.have_events_after(wallet_ids, number=found.settled),
        )
        return page.response(
            "events",
            rows,
            write=event_serializers.event,
            position=lambda row: [row.number, row.party],
            is_feed=True,
            # Keeps the cursor of a client that has read all events from expiring.
            end=list(end),
        )
