"""Which views run on which threads: what waits, hashes passwords or decodes images says so beside its definition."""

import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.urls import get_resolver

from config.api.cloudcoin.locker_views import LockerViewSet
from config.api.cloudcoin.synchronous_views import SynchronousViewSet
from config.api.pools import Pool, pool_of
from config.api.treetracker.wallet_views import AuthViewSet
from config.ops import wallet_export
from config.seals import blocks
from config.web import claim_links
from lockers import queries, transport
from lockers.worker import peek
from tests.api.endpoints import endpoints
from tests.support.view_actions import Owned, actions
from wallets import images

# What waits until other machines have answered, and what takes a processor a tenth of a second or more.
# A sheet of a thousand links takes seconds, and so does the export of a wallet.
# A proof hashes up to five blocks, of some thousand rows each.
WAITS = {transport.ask, queries.final_task, claim_links.sheet, wallet_export.lines, blocks.rows}
HASHES = {hashers.verify_password, hashers.make_password, hashers.check_password}
DECODES = {images.reencoded}
FORM = "multipart/form-data; boundary=frame"
# They could give the wallet that they open a password, and never do.
WITHOUT_A_PASSWORD = {"WalletViewSet.open_wallet", "WalletViewSet.create"}
OURS = ("config.", "lockers.", "transfers.", "trusts.", "wallets.")


def functions_called(function: Callable[..., Any], owner: type | None) -> Iterator[Owned]:
    """
    Yield every function that the code of another names: directly, as an attribute of a module, or of its class.

    It may give too many, since a name may be an attribute of something else.
    """
    codes = [function.__code__]
    for code in codes:
        codes += [each for each in code.co_consts if isinstance(each, types.CodeType)]
        named = [function.__globals__[name] for name in code.co_names if name in function.__globals__]
        modules = [each for each in named if isinstance(each, types.ModuleType)]
        for name in code.co_names:
            found = [function.__globals__.get(name), *(vars(module).get(name) for module in modules)]
            for each in found:
                if isinstance(each, type) and each.__module__.startswith(OURS):
                    yield from ((method, each) for method in vars(each).values() if callable(method))
                elif callable(each):
                    yield each, None
            if owner is not None and callable(method := getattr(owner, name, None)):
                yield method, owner


def reaches(action: Callable[..., Any], owner: type | None, wanted: set[Any]) -> bool:
    seen: set[Any] = set()
    waiting: list[Owned] = [(action, owner)]
    while waiting:
        function, of = waiting.pop()
        function = getattr(function, "__wrapped__", function)
        function = function.func if isinstance(function, partial) else function
        if function in wanted:
            return True
        if (function, of) in seen or not isinstance(function, types.FunctionType):
            continue
        seen.add((function, of))
        if function.__module__.startswith(OURS):
            waiting += functions_called(function, of)
    return False


@pytest.mark.parametrize(
    ("wanted", "pool"),
    [(WAITS, Pool.WAITING), (HASHES, Pool.PASSWORDS), (DECODES, Pool.IMAGES)],
    ids=["waits", "hashes", "decodes"],
)
def test_every_view_that_does_so_says_so_and_no_other(wanted: Any, pool: Any) -> None:
    does = {name for name, (action, view_set) in actions().items() if reaches(action, view_set, wanted)}
    says = {name for name, (action, _) in actions().items() if getattr(action, "pool", Pool.ORDINARY) is pool}

    assert does - WITHOUT_A_PASSWORD == says
    assert says


def test_the_search_finds_what_waits_by_way_of_other_functions() -> None:
    assert reaches(peek.peek, None, {transport.ask})
    assert reaches(SynchronousViewSet.upload, SynchronousViewSet, {queries.final_task})
    assert not reaches(LockerViewSet.peek, LockerViewSet, {transport.ask})
    assert reaches(AuthViewSet.create, AuthViewSet, HASHES)


def test_each_path_has_the_pool_of_its_view() -> None:
    find = pool_of(get_resolver().url_patterns)
    wrong = []
    for method, path, action in endpoints(get_resolver()):
        said = getattr(action, "pool", Pool.ORDINARY)
        if said is Pool.IMAGES:
            images_at = path
            assert method == "PATCH"
            assert find(path.replace("{", "").replace("}", ""), "application/json") is Pool.ORDINARY
        others = [] if path.startswith("/api/") else [f"/wallet{path}", f"/WALLET{path.upper()}", f"/Wallet/V2{path}"]
        for written in (path, f"{path}/", *others):
            if find(written.replace("{", "").replace("}", ""), FORM if said is Pool.IMAGES else "") is not said:
                wrong.append((written, said))
    assert wrong == []
    assert images_at == "/wallets/{wallet_id}"


@pytest.mark.parametrize(
    ("path", "pool"),
    [
        ("/livez", Pool.ALIVE),
        ("/livez/", Pool.ALIVE),
        ("/readyz", Pool.ORDINARY),
        ("/admin/login/", Pool.PASSWORDS),
        ("/admin/password_change/", Pool.PASSWORDS),
        ("/admin/", Pool.ORDINARY),
        ("/admin/login/more", Pool.ORDINARY),
        ("/api/locker/put", Pool.WAITING),
        ("/api/transactions/locker/put-no-sum/", Pool.WAITING),
        ("/api/v1/verify-locker-contents/peek", Pool.ORDINARY),
        ("/auth/x", Pool.ORDINARY),
        ("/nowhere", Pool.ORDINARY),
        ("", Pool.ORDINARY),
        ("*", Pool.ORDINARY),
    ],
)
def test_paths_of_other_kinds(path: str, pool: Any) -> None:
    assert pool_of(get_resolver().url_patterns)(path, "") is pool
