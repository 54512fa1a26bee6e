"""The environment is read once, checked at once, and never repeated where it is wrong."""

import base64
import re
from typing import Any

import pytest
from pydantic import ValidationError

from config.dev.embedded import ROOT
from config.environment import Environment, explain
from config.postgresql import sessions
from tests.support.environment_variables import variables_of_the_model

OF_COMPOSE_ALONE = {"POSTGRES_PASSWORD", "COPPICE_SITE"}


def test_the_example_file_lists_every_variable_and_no_other() -> None:
    listed = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", (ROOT / "docker/.env.example").read_text(), re.MULTILINE))

    assert listed == variables_of_the_model() | OF_COMPOSE_ALONE


def test_compose_sets_only_variables_that_are_read() -> None:
    compose = (ROOT / "docker/compose.yml").read_text()
    set_there = set(re.findall(r"^    ([A-Z][A-Z0-9_]+): \$\{", compose, re.MULTILINE))

    assert set_there == {"DATABASE_URL", "REDIS_URL"}
    assert set_there <= variables_of_the_model()


def test_old_vault_keys_are_a_list_that_shows_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [base64.b64encode(letter * 32).decode() for letter in (b"a", b"b")]
    monkeypatch.setenv("COPPICE_VAULT_OLD_KEYS", f"{keys[0]}, {keys[1]},")

    environment = Environment()

    assert [key.get_secret_value() for key in environment.vault_old_keys] == keys
    assert not any(key in repr(environment) for key in keys)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://a:b%40c@db:5433/name", ("name", "a", "b@c", "db", "5433")),
        ("postgres://db/name", ("name", "", "", "db", "")),
        ("postgresql://coppice@/coppice?host=/tmp/x/pg", ("coppice", "coppice", "", "/tmp/x/pg", "")),
        ("postgresql://u@/n?host=/s&port=6543", ("n", "u", "", "/s", "6543")),
        ("postgresql://%2Frun%2Fpostgresql/n", ("n", "", "", "/run/postgresql", "")),
        ("postgresql://u%20v@h1:1,h2:2,[::1]/n%2Fm", ("n/m", "u v", "", "h1,h2,::1", "1,2,")),
        ("postgresql://h/n?user=u&password=a+b%26c", ("n", "u", "a+b&c", "h", "")),
    ],
)
def test_a_database_url_becomes_djangos_settings(url: str, expected: Any) -> None:
    settings = sessions.database(url, sessions.Pooled.NO)

    assert tuple(settings[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")) == expected


def test_what_libpq_knows_reaches_it_whole() -> None:
    known = "target_session_attrs=read-write&sslmode=verify-full&sslrootcert=/etc/ca%20s.pem&load_balance_hosts=random"
    url = f"postgresql://u@h1,h2/n?{known}&options=-c%20search_path%3Dtrees%20-c%20statement_timeout%3D45s"

    options = sessions.database(url, sessions.Pooled.NO)["OPTIONS"]

    assert options["target_session_attrs"] == "read-write"
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "/etc/ca s.pem")
    assert options["load_balance_hosts"] == "random"
    assert options["connect_timeout"] == "5"
    # Ours first: of two settings the later holds.
    assert options["options"].startswith("-c jit=off ")
    assert options["options"].endswith(" -c search_path=trees -c statement_timeout=45s")
    wanted = sessions.wanted(url)
    assert (wanted["statement_timeout"], wanted["search_path"], wanted["lock_timeout"]) == ("45s", "trees", "5s")
    # The names of settings have no case: a session has one time zone, whichever way it is written.
    wanted = sessions.wanted("postgresql://u@h/n?options=-c%20timezone%3DAsia/Tokyo%20-c%20LOCK_TIMEOUT%3D9s")
    assert wanted.keys() == {*sessions.SETTINGS, "timezone", "LOCK_TIMEOUT"} - {"TimeZone", "lock_timeout"}
    assert (wanted["timezone"], wanted["LOCK_TIMEOUT"]) == ("Asia/Tokyo", "9s")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-c a=1 -cb=2 --c-d=3", {"a": "1", "b": "2", "c_d": "3"}),
        (r"-c a=x\ y\\z --b=", {"a": r"x y\z", "b": ""}),
        ("", {}),
    ],
)
def test_options_are_read_as_postgresql_reads_them(options: str, expected: Any) -> None:
    assert sessions.settings_in(options) == expected


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DATABASE_URL": "postgresql://u:hush@h:x/n"}, "DATABASE_URL: is not a URL with a number for its port"),
        ({"DATABASE_URL": "postgresql://u:hush@h/n?bogus=hush"}, "DATABASE_URL: is not a URL that libpq understands"),
        ({"DATABASE_URL": "postgresql://u:hush@h/"}, "DATABASE_URL: must look like"),
        ({"DATABASE_URL": "mysql://u:hush@h/n"}, "DATABASE_URL: must look like"),
        ({"COPPICE_DATABASE_POOLED": "session"}, "COPPICE_DATABASE_POOLED: Input should be"),
        ({"COPPICE_DATABASE_DIRECT_URL": "hush"}, "COPPICE_DATABASE_DIRECT_URL: must look like"),
        (
            {"DATABASE_URL": "postgresql://h/n?options=-E%20hush", "COPPICE_DATABASE_POOLED": "true"},
            "COPPICE_DATABASE_POOLED: a pooler takes no startup options, and DATABASE_URL has some",
        ),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_the_start_without_its_values(
    monkeypatch: pytest.MonkeyPatch, variables: Any, named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match="validation error for Environment") as refused:
        Environment()

    assert named in explain(refused.value)
    assert "hush" not in explain(refused.value)


@pytest.mark.parametrize(
    ("text", "pooled"),
    [("", "false"), ("0", "false"), ("False", "false"), ("TRUE", "true"), ("1", "true"), ("prepared", "prepared")],
)
def test_a_pooler_is_named_with_one_of_three_words(monkeypatch: pytest.MonkeyPatch, text: str, pooled: str) -> None:
    monkeypatch.setenv("COPPICE_DATABASE_POOLED", text)

    assert Environment().database_pooled == sessions.Pooled(pooled)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ("", "", "", True)),
        ("https://example.org", ("https://example.org", "example.org", "", True)),
        ("https://Example.org:443/", ("https://example.org", "example.org", "", True)),
        ("https://example.org:8443/coppice/", ("https://example.org:8443", "example.org", "/coppice", True)),
        ("http://[2001:db8::1]:8000/a/b", ("http://[2001:db8::1]:8000", "[2001:db8::1]", "/a/b", False)),
    ],
)
def test_hosts_origin_prefix_and_the_need_for_https_follow_from_the_public_url(
    monkeypatch: pytest.MonkeyPatch, url: str, expected: Any
) -> None:
    monkeypatch.setenv("COPPICE_SECURE", "true")
    monkeypatch.setenv("COPPICE_PUBLIC_URL", url)

    made = Environment()

    assert (made.public_origin, made.public_host, made.prefix, made.wants_https) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("COPPICE_PUBLIC_URL", value)
            for value in (
                "example.org", "ftp://example.org", "https://", "https://user@example.org", "https://example.org/a?b",
                "https://example.org/a#b", "https://example.org/../a", "https://example.org/a b", "https://exa_mple.org",
                "https://example.org:99999", "https://example.org//a",
            )
        ),
        *(("COPPICE_TRUSTED_PROXIES", value) for value in ("nginx", "0.0.0.0/0", "10.0.0.1/8", "10.0.0.1,::/0", "*")),
        *(
            ("COPPICE_CORS_ORIGINS", value)
            for value in ("example.org", "https://example.org/", "https://example.org/a", "null", "https://*.example.org")
        ),
        ("COPPICE_HSTS_PRELOAD", "true"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, name: Any, value: Any) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match="validation error for Environment") as refused:
        Environment()

    assert name.removeprefix("COPPICE_").lower() in str(refused.value)


_KEY = base64.b64encode(b"k" * 32).decode()
_SHORT = base64.b64encode(b"k" * 31).decode()
_HOSTS = ["localhost:1", *["10.0.0.1:65535"] * 23, "[::1]:50000"]
_MAIL = {"COPPICE_EMAIL_URL": "smtp+starttls://u:hush@mail.example.org:587", "COPPICE_EMAIL_FROM": "a@example.org"}
_OIDC = {
    "COPPICE_OIDC_ISSUER": "https://id.example.org/realms/name", "COPPICE_OIDC_CLIENT_ID": "coppice",
    "COPPICE_OIDC_CLIENT_SECRET": "hush", "COPPICE_OIDC_GROUPS": "admins=administrator",
}  # fmt: skip
_BUCKET = {"COPPICE_MEDIA_URL": "https://images.example.org"}


def _signs(length: int) -> str:
    return f"whsec_{base64.b64encode(b'k' * length).decode()}"


# Variable, other variables that are set, values that are accepted, and values that are refused: both sides of a limit.
LIMITS: list[tuple[str, dict[str, str], list[str], list[str]]] = [
    ("COPPICE_SECRET_KEY", {}, ["k" * 32], ["k" * 31]),
    ("COPPICE_VAULT_KEY", {}, [_KEY], [_SHORT, base64.b64encode(b"k" * 33).decode(), "", "no base64!"]),
    ("COPPICE_VAULT_OLD_KEYS", {}, ["", f"{_KEY},{_KEY}"], [f"{_KEY},{_SHORT}"]),
    ("COPPICE_SEAL_KEY", {}, ["", _KEY], [_SHORT]),
    ("COPPICE_SEAL_OLD_KEYS", {}, ["", f"{_KEY},{_KEY}"], [f"{_KEY},{_SHORT}"]),
    ("COPPICE_METRICS_TOKEN", {}, ["", "t" * 20], ["t" * 19]),
    ("COPPICE_RAIDA_HOSTS", {}, ["", ",".join(_HOSTS)], [
        ",".join(_HOSTS[1:]), ",".join([*_HOSTS, "h:1"]),
        *(",".join([*_HOSTS[1:], wrong]) for wrong in ("h:0", "h:65536", "h", ":1", "h:port")),
    ]),
    ("COPPICE_REPLICA_URL", {}, ["", "postgresql://h/n"], ["mysql://h/n", "postgresql://h/"]),
    ("COPPICE_PUBLIC_URL", {}, ["", "https://example.org:65535"], ["https://example.org:65536", "https://e.org:0"]),
    ("COPPICE_MEDIA_URL", {}, ["", "https://images.example.org/a"], ["images.example.org"]),
    ("COPPICE_MEDIA_S3_BUCKET", _BUCKET, ["", "images"], []),
    ("COPPICE_MEDIA_S3_BUCKET", {}, [""], ["images"]),
    ("COPPICE_HSTS_PRELOAD", {"COPPICE_HSTS_INCLUDE_SUBDOMAINS": "true"}, ["true", "false"], []),
    ("COPPICE_HSTS_PRELOAD", {}, ["false"], ["true"]),
    ("COPPICE_WEBHOOK_ALLOWED_NETWORKS", {}, ["", "10.0.0.0/8,fd00::/8"], ["10.0.0.1/8"]),
    ("COPPICE_LOG_LEVEL", {}, ["debug", "CRITICAL"], ["LOUD"]),
    ("COPPICE_EMAIL_URL", {"COPPICE_EMAIL_FROM": "a@example.org"}, ["", "smtps://h"], ["https://h", "smtp://", "h:25"]),
    ("COPPICE_EMAIL_FROM", _MAIL, ["coppice@example.org"], ["", "coppice"]),
    ("COPPICE_EMAIL_FROM", {}, ["", "coppice@example.org"], ["coppice"]),
    ("COPPICE_ALERT_MAIL", _MAIL, ["", "a@example.org, b@example.org"], ["a@example.org,b"]),
    ("COPPICE_ALERT_MAIL", {}, [""], ["a@example.org"]),
    ("COPPICE_ALERT_URL", {}, ["", "https://h/a", f"https://{'h' * 2040}"], [
        "ftp://h", "https://a b", f"https://{'h' * 2041}",
    ]),
    ("COPPICE_ALERT_SECRET", {}, ["", _signs(24)], [
        _signs(23), base64.b64encode(b"k" * 24).decode(), "whsec_no base64!",
    ]),
    ("COPPICE_OIDC_ISSUER", _OIDC, ["https://h", "http://localhost:8080", "http://127.0.0.1", "http://[::1]/a"], [
        "http://id.example.org", "http://10.0.0.1", "https://h/a?b", "id.example.org",
    ]),
    *((name, _OIDC, [value], [""]) for name, value in _OIDC.items() if name != "COPPICE_OIDC_ISSUER"),
    *((name, {}, ["", value], []) for name, value in _OIDC.items() if name != "COPPICE_OIDC_ISSUER"),
    ("COPPICE_OIDC_GROUPS", _OIDC, ["a=b=viewer, staff = operator,"], ["admins", "=viewer", "admins=", "admins=owner"]),
    ("COPPICE_OIDC_SCOPES", {}, ["openid", "profile openid"], ["", "profile", "openidx"]),
    ("COPPICE_SECOND_FACTOR", {}, ["", "viewer,administrator"], ["owner"]),
]  # fmt: skip
# Checked by the tests above.
_ABOVE = {
    "allowed_hosts", "trusted_proxies", "cors_origins", "database_url", "database_direct_url", "database_pooled",
    "media",
}  # fmt: skip


def test_each_checked_variable_is_accepted_up_to_its_limit_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = []
    for name, others, accepted, refused in LIMITS:
        for value, is_accepted in (*((each, True) for each in accepted), *((each, False) for each in refused)):
            with monkeypatch.context() as patch:
                for variable, given in (others | {name: value}).items():
                    patch.setenv(variable, given)
                said = ""
                try:
                    Environment()
                except ValidationError as error:
                    said = explain(error)
                named = re.findall(r"^  (COPPICE_\w+): ", said, re.MULTILINE)
                if named != ([] if is_accepted else [name]) or "hush" in said or _SHORT in said:
                    wrong.append((name, value, said))
    assert wrong == []

    decorators = Environment.__pydantic_decorators__.field_validators.values()
    assert {field for each in decorators for field in each.info.fields} - _ABOVE == {
        name.removeprefix("COPPICE_").lower() for name, *_ in LIMITS
    }


@pytest.mark.parametrize(
    ("secure", "url", "expected"),
    [("false", "", False), ("false", "https://example.org", True), ("true", "http://example.org", False)],
)
def test_the_public_url_says_whether_https_is_required_and_without_one_the_setting(
    monkeypatch: pytest.MonkeyPatch, secure: str, url: str, expected: bool
) -> None:
    monkeypatch.setenv("COPPICE_SECURE", secure)
    monkeypatch.setenv("COPPICE_PUBLIC_URL", url)

    assert Environment().wants_https is expected


def test_what_a_url_says_about_its_connection_holds_in_place_of_the_defaults() -> None:
    """A replica is given up earlier than the primary, and is always connected to within two seconds."""
    own = {"tcp_user_timeout": "77000", "keepalives_idle": "77", "connect_timeout": "7"}
    url = "postgresql://h/n?" + "&".join(f"{name}={value}" for name, value in own.items())

    primary, replica = (make(url, sessions.Pooled.NO)["OPTIONS"] for make in (sessions.database, sessions.replica))
    usual, plain = (
        make("postgresql://h/n", sessions.Pooled.NO)["OPTIONS"] for make in (sessions.database, sessions.replica)
    )

    assert {name: primary[name] for name in own} == own
    assert {name: usual[name] for name in own} == {
        "tcp_user_timeout": "10000", "keepalives_idle": "5", "connect_timeout": "5",
    }  # fmt: skip
    assert {name: replica[name] for name in own} == own | {"connect_timeout": "2"}
    assert {name: plain[name] for name in own} == {
        "tcp_user_timeout": "2000", "keepalives_idle": "2", "connect_timeout": "2",
    }  # fmt: skip
