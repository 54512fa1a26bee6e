"""
The environment variables of Coppice, typed and validated.

A missing or invalid value stops the process at its start, with all problems in one message. `docker/.env.example` lists
the same variables; a test compares them.
"""

import logging
import re
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import psycopg
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config import mail
from config.environment_values import (
    PUBLIC_URL,
    BrokerUrl,
    RedisUrl,
    decoded,
    hosts_of_25_servers,
    key_of_32_bytes,
    origins,
    public_place,
    roles_of_groups,
    url_of_a_database,
)
from config.postgresql.sessions import Pooled, parameters, settings_in
from config.web.forwarded import network

ROOT = Path(__file__).resolve().parent.parent


class Environment(BaseSettings):
    """The variables, each with the prefix `COPPICE_` unless its alias says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="COPPICE_", extra="ignore", hide_input_in_errors=True, validate_default=True
    )

    secret_key: SecretStr = Field(description="Django's signing key, at least 32 characters")
    vault_key: SecretStr = Field(
        description="32 random bytes in base64; encrypts authenticity numbers and codes at rest"
    )
    vault_old_keys: Annotated[list[SecretStr], NoDecode] = Field(
        default=[], description="earlier vault keys, comma separated, which still decrypt what they encrypted"
    )
    database_url: SecretStr = Field(
        validation_alias="DATABASE_URL",
        description="postgresql://user:password@host:port/name, with all that libpq knows",
    )
    database_pooled: Pooled = Field(
        default=Pooled.NO,
        description="true: a pooler in transaction mode stands in front of PostgreSQL; prepared: and it knows prepared"
        " statements, as PgBouncer does from 1.21 on",
    )
    database_direct_url: SecretStr | None = Field(
        default=None, description="past the pooler, to the same database: for backup and restore"
    )
    replica_url: SecretStr | None = Field(default=None, description="a streaming standby of the server of DATABASE_URL")
    replica_max_lag: float = Field(default=10, ge=2, le=3600, description="seconds beyond which it answers nothing")
    redis_url: RedisUrl = Field(
        validation_alias="REDIS_URL",
        description="redis://host:port/0, unix:///path/to/socket?db=0 or redis+sentinel://host1,host2/service/0",
    )
    broker_url: BrokerUrl = Field(
        default=SecretStr(""),
        description="amqp://user:password@host:5672/vhost or amqps://: RabbitMQ carries the messages to workers, in"
        " place of the server of REDIS_URL, which stays required",
    )
    debug: bool = False
    public_url: str = Field(
        default="", description="the URL under which clients reach Coppice, such as https://example.org/coppice"
    )
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        default=["localhost", "127.0.0.1", "[::1]"], description="other host names under which it is reached"
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default=[], description="addresses and networks of the proxies in front, comma separated"
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="origins such as https://app.example.org whose pages may call the API, comma separated; * is all",
    )
    secure: bool = Field(
        default=True, description="HTTPS is required; without effect if COPPICEPUBLIC_URL is set, whose scheme says it"
    )
    hsts_include_subdomains: bool = Field(default=False, description="HSTS also for all subdomains")
    hsts_preload: bool = Field(default=False, description="permits browsers to ship the domain as one with HTTPS alone")
    log_level: str = "INFO"
    state_dir: Path = Field(default=ROOT / ".state", description="private servers and local RAIDA coins")
    media: Path | None = Field(
        default=None, description="directory of the images of wallets; media below COPPICE_STATE_DIR by default"
    )
    media_url: str = Field(
        default="",
        description="the URL below which images are served; media below COPPICEPUBLIC_URL by default, required with"
        " an S3 store",
    )
    media_s3_bucket: str = Field(default="", description="keeps images in this bucket of an S3 store instead")
    media_s3_endpoint: str = Field(default="", description="the URL of an S3 store other than Amazon's")
    media_s3_region: str = ""
    media_s3_access_key: str = Field(default="", description="without it, boto3 finds credentials by itself")
    media_s3_secret_key: SecretStr = SecretStr("")
    raida_hosts: Annotated[list[str], NoDecode, AfterValidator(hosts_of_25_servers)] = Field(
        default=[], description="25 host:port, comma separated, RAIDA 0 first; without them lockers are off"
    )
    raida_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    raida_plaintext: Literal["fallback", "never"] = Field(
        default="fallback", description="fallback or never: whether servers that cannot decrypt are asked in clear"
    )
    checked_coins_per_minute: int = Field(
        default=1000,
        ge=0,
        le=20_000,
        description="coins that the periodic check verifies with the servers in a minute; 0 disables it",
    )

    request_seconds: float = Field(
        default=20.0, gt=0, le=60, description="what the head of a request has, and after it the body, in seconds"
    )
    workers: int = Field(default=2, ge=1, le=1000, description="how many locker tasks all workers do at once")
    open_tasks_per_wallet: int = Field(default=100, ge=1, le=100_000, description="tasks that one wallet may have open")
    waiting_calls_per_wallet: int = Field(
        default=4, ge=1, le=1000, description="calls of one wallet that may wait in a web process at once"
    )
    requests_per_minute: int = Field(default=0, ge=0, description="of one wallet; 0: no limit")
    requests_per_minute_per_key: int = Field(default=0, ge=0, description="of one API key; 0: no limit")
    tasks_per_minute: int = Field(
        default=3000, ge=0, description="calls of one wallet that begin a task or ask the servers; 0: no limit"
    )
    inquiries_per_minute: int = Field(
        default=120, ge=0, description="peeks and echoes of one wallet, counted over 5 seconds; 0: no limit"
    )
    wrong_codes_per_wallet: int = Field(default=30, ge=1, description="in ten minutes")
    wrong_codes_per_address: int = Field(default=100, ge=1, description="in ten minutes")

    bearer_token_days: int = Field(default=365, ge=1, le=3650, description="days for which a login is valid")
    bearer_tokens_per_wallet: int = Field(
        default=0, ge=0, le=100_000, description="valid logins of a wallet; a further one ends the oldest; 0: no limit"
    )
    answer_days: int = Field(
        default=7, ge=7, le=366, description="days for which answers to an Idempotency-Key are kept"
    )
    ended_token_days: int = Field(
        default=30, ge=1, le=3650, description="days for which logins are kept after their end"
    )
    event_days: int = Field(default=0, ge=0, le=36500, description="days for which events are kept; 0: for good")
    delivery_days: int = Field(default=30, ge=7, le=366, description="days for which deliveries of webhooks are kept")
    open_transfer_hours: int = Field(
        default=0, ge=0, le=24 * 3650, description="hours until an open transfer expires that names no time; 0: never"
    )
    claim_link_hours: int = Field(
        default=168, ge=1, le=24 * 366, description="hours until a claim link expires that names no time"
    )
    wrong_claim_codes_per_address: int = Field(default=30, ge=1, description="in ten minutes")
    wrong_claim_codes: int = Field(
        default=1000, ge=1, description="of all addresses in ten minutes; beyond it each address has one"
    )
    audit_every_minutes: int = Field(
        default=10, ge=0, le=24 * 60, description="minutes between audits; 0: only by command and in the admin"
    )
    full_audit_hour: int = Field(
        default=2, ge=-1, le=23, description="hour (UTC) of the daily audit of all history; -1: only by command"
    )
    seal_every_minutes: int = Field(
        default=10, ge=0, le=24 * 60, description="minutes after which a block that is not full is sealed; 0: no seals"
    )
    seal_key: SecretStr = Field(
        default=SecretStr(""),
        description="32 random bytes in base64, an Ed25519 key; signs the seals of history, without it they are not",
    )
    seal_old_keys: Annotated[list[str], NoDecode] = Field(
        default=[], description="public keys of earlier seal keys in base64, comma separated"
    )

    request_log_days: int = Field(
        default=7, ge=0, le=366, description="days for which requests are shown in the admin, today included; 0: none"
    )
    request_log_megabytes: int = Field(
        default=2000, ge=10, le=1_000_000, description="size above which the oldest of these days is dropped"
    )

    webhook_allowed_networks: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="private networks to which webhooks may be sent, also over plain HTTP, comma separated; by default"
        " only addresses of the public internet over HTTPS",
    )

    email_url: SecretStr = Field(
        default=SecretStr(""),
        description="the mail server: smtp://host:25, smtp+starttls://user:password@host:587 or smtps://…:465",
    )
    email_from: str = Field(default="", description="the sender of mails, required with COPPICE_EMAIL_URL")
    alert_mail: Annotated[list[str], NoDecode] = Field(
        default=[], description="addresses that get a mail about each alert, comma separated; needs COPPICE_EMAIL_URL"
    )
    alert_url: SecretStr = Field(
        default=SecretStr(""), description="the URL that is called about each alert, with the rules of webhooks"
    )
    alert_secret: SecretStr = Field(
        default=SecretStr(""), description="whsec_ and at least 24 bytes in base64: signs these calls as webhooks are"
    )
    alert_repeat_hours: float = Field(
        default=4,
        ge=0,
        le=24 * 30,
        description="hours until an open alert that is not acknowledged is reported again; 0: never",
    )
    alert_quiet_minutes: float = Field(
        default=10,
        ge=0,
        le=24 * 60,
        description="minutes without its condition after which an alert ends; earlier the same alert continues",
    )
    backup_hours: int = Field(
        default=0, ge=0, le=24 * 366, description="hours after which the last backup is too old; 0: never"
    )

    second_factor: Annotated[list[Literal["viewer", "operator", "administrator"]], NoDecode] = Field(
        default=[],
        description="roles in the admin that must sign in with a second factor, comma separated: viewer, operator,"
        " administrator",
    )
    four_eyes_issue_above: int = Field(
        default=-1, ge=-1, description="a second operator approves issues of more tokens in the admin; -1: of none"
    )
    four_eyes_keys: bool = Field(default=False, description="a second operator approves new and rotated API keys")
    four_eyes_vault: bool = Field(
        default=False,
        description="a second operator approves finds, fixes, retries and rollbacks of coins in the admin",
    )
    session_hours: float = Field(default=12, gt=0, le=24 * 31, description="how long a session of the admin lasts")
    session_idle_minutes: float = Field(
        default=60, gt=0, le=24 * 60 * 31, description="after how long without a page a session of the admin ends"
    )

    oidc_issuer: str = Field(
        default="",
        description="the issuer of the OpenID Connect provider for the admin, such as https://id.example.org",
    )
    oidc_client_id: str = Field(default="", description="required with COPPICE_OIDC_ISSUER")
    oidc_client_secret: SecretStr = Field(default=SecretStr(""), description="required with COPPICE_OIDC_ISSUER")
    oidc_scopes: str = Field(default="openid profile email", description="separated by spaces, openid among them")
    oidc_groups_claim: str = Field(default="groups", description="the claim that names the groups of a person")
    oidc_groups: Annotated[dict[str, Literal["viewer", "operator", "administrator"]], NoDecode] = Field(
        default={},
        description="group=role, comma separated, such as admins=administrator,staff=viewer; required with"
        " COPPICE_OIDC_ISSUER",
    )
    oidc_name: str = Field(default="single sign-on", max_length=60, description="name of the provider when signing in")
    oidc_only: bool = Field(default=False, description="only superusers may sign in to the admin with a password")

    metrics_token: SecretStr = Field(
        default=SecretStr(""),
        description="what /metrics wants as a bearer token, at least 20 characters; without one it answers"
        " this machine alone",
    )

    @field_validator("metrics_token")
    @classmethod
    def metrics_token_is_long(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and len(value.get_secret_value()) < 20:
            raise ValueError("must have at least 20 characters")
        return value

    @field_validator("email_url")
    @classmethod
    def email_url_is_a_server(cls, value: SecretStr) -> SecretStr:
        try:
            mail.read(value.get_secret_value())
        except ValueError:
            raise ValueError("must look like smtp+starttls://user:password@mail.example.org:587") from None
        return value

    @field_validator("email_from")
    @classmethod
    def email_from_is_an_address(cls, value: str, info: ValidationInfo) -> str:
        if value and not mail.ADDRESS.fullmatch(value):
            raise ValueError("must look like coppice@example.org")
        url = info.data.get("email_url")
        if not value and url is not None and url.get_secret_value():
            raise ValueError("is required with COPPICE_EMAIL_URL")
        return value

    @field_validator("alert_mail")
    @classmethod
    def alert_mail_are_addresses(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if not all(mail.ADDRESS.fullmatch(each) for each in value):
            raise ValueError("must be addresses such as operators@example.org")
        url = info.data.get("email_url")
        if value and url is not None and not url.get_secret_value():
            raise ValueError("needs COPPICE_EMAIL_URL, the server that sends the mails")
        return value

    @field_validator("alert_url")
    @classmethod
    def alert_url_can_be_called(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not re.fullmatch(r"https?://[\x21-\x7e]{1,2040}", url):
            raise ValueError("must look like https://alerts.example.org/coppice")
        return value

    @field_validator("alert_secret")
    @classmethod
    def alert_secret_signs(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (not text.startswith("whsec_") or len(decoded(text.removeprefix("whsec_"))) < 24):
            raise ValueError("must be whsec_ and at least 24 bytes in base64")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def oidc_issuer_is_a_place(cls, value: str) -> str:
        is_local = urlsplit(value).hostname in {"localhost", "127.0.0.1", "::1"}
        if value and not (PUBLIC_URL.fullmatch(value) and (value.startswith("https://") or is_local)):
            raise ValueError("must look like https://id.example.org or https://id.example.org/realms/name")
        return value

    @field_validator("oidc_client_id", "oidc_client_secret", "oidc_groups")
    @classmethod
    def oidc_is_complete(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("oidc_issuer") and not (value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError("is required with COPPICE_OIDC_ISSUER")
        return value

    @field_validator("oidc_scopes")
    @classmethod
    def oidc_scopes_have_openid(cls, value: str) -> str:
        if "openid" in value.split():
            return value
        raise ValueError("must have openid among them")

    @field_validator("oidc_groups", mode="before")
    @classmethod
    def split_groups(cls, value: object) -> object:
        return roles_of_groups(value) if isinstance(value, str) else value

    @field_validator("secret_key")
    @classmethod
    def secret_key_is_long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters")
        return value

    @field_validator("vault_key")
    @classmethod
    def vault_key_is_32_bytes(cls, value: SecretStr) -> SecretStr:
        return key_of_32_bytes(value)

    @field_validator("seal_key")
    @classmethod
    def seal_key_is_32_bytes(cls, value: SecretStr) -> SecretStr:
        return key_of_32_bytes(value) if value.get_secret_value() else value

    @field_validator("seal_old_keys")
    @classmethod
    def seal_old_keys_are_32_bytes(cls, value: list[str]) -> list[str]:
        return [key_of_32_bytes(SecretStr(key)).get_secret_value() for key in value]

    @field_validator("vault_old_keys")
    @classmethod
    def vault_old_keys_are_32_bytes(cls, value: list[SecretStr]) -> list[SecretStr]:
        return [key_of_32_bytes(key) for key in value]

    @field_validator("database_direct_url", "replica_url", "media", mode="before")
    @classmethod
    def empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("database_url", "database_direct_url", "replica_url")
    @classmethod
    def database_url_names_a_database(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is None else url_of_a_database(value)

    @field_validator("database_pooled", mode="before")
    @classmethod
    def pooled_is_one_of_three(cls, value: object) -> object:
        text = str(value).lower()
        if text in {"", "0", "no", "off"}:
            return Pooled.NO
        return Pooled.YES if text in {"1", "yes", "on"} else text

    @field_validator("database_pooled")
    @classmethod
    def pooler_can_be_used(cls, value: Pooled, others: ValidationInfo) -> Pooled:
        if value is Pooled.PREPARED and not psycopg.Capabilities().has_send_close_prepared():
            raise ValueError("prepared needs a libpq of version 17 or newer; set it to true")
        url = others.data.get("database_url")
        if value is not Pooled.NO and url is not None:
            try:
                # `manage.py prepare` stores each of them in the database.
                settings_in(parameters(url.get_secret_value()).get("options", ""))
            except ValueError as error:
                raise ValueError(f"a pooler takes no startup options, and DATABASE_URL has some: {error}") from None
        return value

    @field_validator("public_url")
    @classmethod
    def public_url_is_a_place(cls, value: str) -> str:
        return public_place(value) if value else value

    @field_validator("media_url")
    @classmethod
    def media_url_is_a_place(cls, value: str) -> str:
        return public_place(value, like="https://images.example.org or https://example.org/images") if value else value

    @field_validator("media_s3_bucket")
    @classmethod
    def images_in_a_store_have_a_url(cls, value: str, info: ValidationInfo) -> str:
        if value and not info.data.get("media_url"):
            raise ValueError("needs COPPICE_MEDIA_URL, the URL below which the store serves the bucket")
        return value

    @field_validator("trusted_proxies", "webhook_allowed_networks")
    @classmethod
    def addresses_are_networks(cls, value: list[str]) -> list[str]:
        return [str(network(each)) for each in value]

    @field_validator("cors_origins")
    @classmethod
    def cors_origins_are_origins(cls, value: list[str]) -> list[str]:
        return origins(value)

    @field_validator("hsts_preload")
    @classmethod
    def preload_is_for_subdomains(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("hsts_include_subdomains"):
            raise ValueError("needs COPPICE_HSTS_INCLUDE_SUBDOMAINS: the lists of browsers take no domain without it")
        return value

    @property
    def public_origin(self) -> str:
        """Scheme, host and port of the public URL in the form of an Origin header, or ""."""
        parts = urlsplit(self.public_url)
        default = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
        return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}" if self.public_url else ""

    @property
    def public_host(self) -> str:
        """The host of the public URL without its port, for ALLOWED_HOSTS, or ""."""
        return re.sub(r":\d+\Z", "", urlsplit(self.public_url).netloc.lower())

    @property
    def prefix(self) -> str:
        """The path of the public URL, such as "/coppice", or ""."""
        return urlsplit(self.public_url).path

    @property
    def wants_https(self) -> bool:
        return self.public_url.startswith("https:") if self.public_url else self.secure

    @field_validator("log_level")
    @classmethod
    def log_level_exists(cls, value: str) -> str:
        if value.upper() not in logging.getLevelNamesMapping():
            raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
        return value.upper()

    @field_validator(
        "allowed_hosts", "trusted_proxies", "cors_origins", "raida_hosts", "vault_old_keys", "second_factor",
        "webhook_allowed_networks", "alert_mail", "seal_old_keys",
        mode="before",
    )  # fmt: skip
    @classmethod
    def split_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def explain(error: ValidationError) -> str:
    """Return one line per variable with its problem, without the values, which may be secrets."""
    lines = ["Coppice cannot start. The environment is not right:"]
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        place = str(problem["loc"][0]) if problem["loc"] else ""
        name = place if place.isupper() else f"COPPICE_{place.upper()}"
        message = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        description = Environment.model_fields[place].description if place in Environment.model_fields else None
        lines.append(f"  {name}: {message}" + (f" ({description})" if description else ""))
    return "\n".join(lines)


@cache
def environment() -> Environment:
    """
    Read and check the environment, once.

    :raises SystemExit: variables are missing or invalid; the message has a line for each
    """
    try:
        return Environment()
    except ValidationError as error:
        sys.exit(explain(error))
