"""The codes of errors of trusts (`config/api/error_codes.py`)."""

from collections.abc import Mapping
from typing import Final

from config.api.error_codes import ErrorCode, Where, code
from trusts import errors as trusts
from wallets.errors import DomainError

BY_CLASS: Final[Mapping[type[DomainError], ErrorCode]] = {
    trusts.TrustAlreadyExists: code(
        "trust_already_exists",
        403,
        "The trust is requested or in force already",
        "The same trust is open already, or one of another type in the opposite direction that gives the same.",
        "Read the trust relationships of the wallet. A requested one waits for the answer of the other side.",
        where=Where.TREETRACKER,
    ),
    trusts.TrustWithOneself: code(
        "trust_with_oneself",
        422,
        "Requester and requestee are the same wallet",
        "A trust needs two wallets.",
        "Name another wallet.",
        where=Where.TREETRACKER,
    ),
    trusts.TrustWithinManagement: code(
        "trust_within_management",
        409,
        "The wallets are related by management already",
        "One of the two wallets manages the other, or a third one manages both: a trust would add nothing.",
        "Act as the manager.",
        where=Where.TREETRACKER,
    ),
    trusts.RequesterNotControlled: code(
        "trust_requester_not_controlled",
        403,
        "The caller does not control the requester",
        "The request names a requester that the caller neither is nor manages.",
        "Request the trust as that wallet, or as its manager.",
        where=Where.TREETRACKER,
    ),
    trusts.TrustNotAnswerable: code(
        "trust_not_answerable",
        403,
        "The caller cannot accept or decline the trust",
        "The caller does not control the wallet that was asked, or no trust has this id. The response is the same for"
        " both.",
        "Compare the id with GET /trust_relationships, and answer as the wallet that was asked.",
        where=Where.TREETRACKER,
    ),
    trusts.TrustNotCancellable: code(
        "trust_not_cancellable",
        403,
        "The caller cannot delete the trust",
        "The caller controls neither side of the trust.",
        "Delete it as one of the two wallets, or as the manager of one.",
        where=Where.TREETRACKER,
    ),
    trusts.TrustNotReadable: code(
        "trust_not_readable",
        403,
        "The caller may not read the trust",
        "The caller controls no party of the trust.",
        "Read it as one of its wallets.",
        where=Where.TREETRACKER,
    ),
    trusts.TrustNotFound: code(
        "trust_not_found",
        404,
        "There is no such trust",
        "No trust relationship has the id in the path.",
        "Compare the id with GET /trust_relationships.",
        where=Where.TREETRACKER,
    ),
    trusts.ManagementCircle: code(
        "trust_management_circle",
        403,
        "The wallets would manage each other",
        "If the trust were accepted, the two wallets would manage each other.",
        "End the opposite management first.",
        where=Where.TREETRACKER,
    ),
    trusts.ConsentWithdrawn: code(
        "trust_consent_withdrawn",
        403,
        "The originator has withdrawn the trust",
        "The side that gave the power deleted the trust, so the other side cannot accept it again.",
        "Ask for a new request.",
        where=Where.TREETRACKER,
    ),
    trusts.OriginatorWithoutControl: code(
        "trust_originator_without_control",
        403,
        "The originator no longer controls the requester",
        "The wallet that made the request in the name of the requester does not manage it any more.",
        "Ask for a new request.",
        where=Where.TREETRACKER,
    ),
    trusts.EndedByOperator: code(
        "trust_ended_by_operator",
        403,
        "An operator has ended the trust",
        "An operator ended the trust, so it cannot be accepted again.",
        "Ask for a new request.",
        where=Where.TREETRACKER,
    ),
    trusts.DismissalOfOneself: code(
        "dismissal_of_oneself",
        422,
        "A wallet cannot dismiss itself",
        "The field manager_wallet names the wallet itself.",
        "Name the manager.",
        where=Where.TREETRACKER,
    ),
    trusts.ApprovalsDemanded: code(
        "trust_approvals_demanded",
        403,
        "The wallet demands approvals, and gets no new manager",
        "A manager's login can give the approvals that the wallet demands, so none is added while it demands some.",
        "End the demand of the wallet (`PUT /wallets/{wallet_id}/approval`), accept, and demand approvals again.",
        where=Where.TREETRACKER,
    ),
}
