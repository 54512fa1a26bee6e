"""Names of wallets that hold a slash, in the paths that take names."""

import pytest

from tests.api.caller import answer, logged_in
from wallets import operations


@pytest.mark.parametrize("name", ["plain", "a/b", "farm/plot/7", "+254/7", "a//b"])
def test_a_path_takes_a_name_with_a_slash(db: None, name: str) -> None:
    caller = logged_in(name, operations.create_api_key(name="partner")[1])
    written = name.replace("/", "%2F")
    by_id = caller.wallet.pk

    for path in ("/api/v1/wallets/{}", "/api/v1/wallets/{}/", "/api/v1/wallets/{}/statement"):
        response = caller.get(path.format(written))
        assert response.status_code == 200, response.content
        assert answer(response) == answer(caller.get(path.format(by_id)))
    lost = caller.get(f"/api/v1/transactions/{written}/{'0' * 32}")
    assert answer(lost) == answer(caller.get(f"/api/v1/transactions/{by_id}/{'0' * 32}"))
