"""Django's settings. Values that depend on the installation come from `config.environment`."""

from config import mail
from config.environment import ROOT, environment
from config.ops import logs
from config.postgresql import sessions
from config.settings import s3
from config.web import cors

env = environment()


BASE_DIR = ROOT
SECRET_KEY = env.secret_key.get_secret_value()
DEBUG = env.debug
# --- COPPICE_PUBLIC_URL: hosts, trusted origins, links, cookies and the path prefix follow from it.
PUBLIC_URL = env.public_url
PUBLIC_ORIGIN = env.public_origin
PATH_PREFIX = env.prefix
ALLOWED_HOSTS = [*env.allowed_hosts, *filter(None, [env.public_host])]
CSRF_TRUSTED_ORIGINS = [*filter(None, [PUBLIC_ORIGIN])]
FORCE_SCRIPT_NAME = PATH_PREFIX or None
# --- Pages of other origins may call the API (`config.web.cors`).
CORS_ALLOWED_ORIGINS = [each for each in env.cors_origins if each != "*"]
CORS_ALLOW_ALL_ORIGINS = "*" in env.cors_origins
CORS_ALLOW_CREDENTIALS = False
CORS_URLS_REGEX = cors.PATHS
CORS_ALLOW_METHODS = cors.METHODS
CORS_ALLOW_HEADERS = cors.HEADERS
CORS_EXPOSE_HEADERS = cors.EXPOSED
CORS_PREFLIGHT_MAX_AGE = 7200
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "config.admin.apps.OperatorsAdminConfig",
    "config.admin.apps.AdminSiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "config",
    "wallets",
    "trusts",
    "transfers",
    "lockers",
    "webhooks",
    "config.treetracker_import",
]

MIDDLEWARE = [
    "config.ops.request_metrics.count_requests",
    "config.api.request_ids.request_ids",
    # Before all middlewares that may refuse a request.
    *(["corsheaders.middleware.CorsMiddleware"] if env.cors_origins else []),
    "config.web.security_headers.guarded",
    *(["config.web.replica_pages.note_writes"] if env.replica_url else []),
    "config.web.pages.StaticFiles",
    "config.web.pages.Sessions",
    "config.web.pages.Csrf",
    "config.web.pages.Authentication",
    "config.web.pages.Messages",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASE_POOLED = env.database_pooled
DATABASES = {"default": sessions.database(env.database_url.get_secret_value(), DATABASE_POOLED)}
# Reads alone, and those that `config.postgresql.replica` sends there.
if env.replica_url:
    DATABASES["replica"] = sessions.replica(env.replica_url.get_secret_value(), DATABASE_POOLED)
REPLICA_MAX_LAG = env.replica_max_lag
# Settings of every database session: see config/postgresql/sessions.py for how they are set.
DATABASE_SETTINGS = sessions.wanted(env.database_url.get_secret_value())
# Bypasses a pooler, for commands that need a dedicated session.
DATABASE_DIRECT = (
    sessions.database(env.database_direct_url.get_secret_value(), sessions.Pooled.NO)
    if env.database_direct_url
    else None
)
# Each operation is a transaction, not each request.
ATOMIC_REQUESTS = False

REDIS_URL = env.redis_url.get_secret_value()
# The broker, if it is RabbitMQ.
BROKER_URL = env.broker_url.get_secret_value()
# Caches of one process. Shared state is in the server of REDIS_URL (`wallets.redis_servers`).
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- HTTPS: a proxy terminates TLS. `config.web.forwarded` writes its values into the environ.
# `config.web.security_headers` replaces SECURE_SSL_REDIRECT, which turns a POST into a GET.
HTTPS_REQUIRED = env.wants_https
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if env.wants_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.hsts_include_subdomains
SECURE_HSTS_PRELOAD = env.hsts_preload
# W005, W021: both affect the whole domain for a year, so the operator chooses.
# W001, W002 and W003 miss Django's own middlewares: `config.web.security_headers.guarded` does what two of them do,
# and `config.web.pages.Csrf` is a subclass of the third. W008 misses SECURE_SSL_REDIRECT.
# postgres.E005 asks for `django.contrib.postgres`, which reads types from the database for each new connection; its
# fields and indexes, all that is used of it, work without. mail.W001: there may be no COPPICE_EMAIL_URL.
SILENCED_SYSTEM_CHECKS = [
    *(f"security.W{number}" for number in ("001", "002", "003", "005", "008", "021")),
    "postgres.E005",
    "mail.W001",
]
SESSION_COOKIE_SECURE = env.wants_https
CSRF_COOKIE_SECURE = env.wants_https
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = PATH_PREFIX or "/"
SESSION_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "config.api.errors.csrf_failure"
# --- Sessions of the admin: `config.admin.sessions` stores them and enforces these limits.
SESSION_ENGINE = "config.admin.sessions"
SESSION_COOKIE_AGE = int(env.session_hours * 3600)
SESSION_IDLE_SECONDS = int(env.session_idle_minutes * 60)
SECOND_FACTOR_ROLES = env.second_factor
FOUR_EYES_ISSUE_ABOVE = env.four_eyes_issue_above
FOUR_EYES_KEYS = env.four_eyes_keys
FOUR_EYES_VAULT = env.four_eyes_vault

# --- Single sign-on for the admin (`config.admin.oidc`).
OIDC_ISSUER = env.oidc_issuer
OIDC_CLIENT_ID = env.oidc_client_id
OIDC_CLIENT_SECRET = env.oidc_client_secret.get_secret_value()
OIDC_SCOPES = env.oidc_scopes
OIDC_GROUPS_CLAIM = env.oidc_groups_claim
OIDC_GROUPS = env.oidc_groups
OIDC_NAME = env.oidc_name
OIDC_ONLY = env.oidc_only

# --- Notifications of alerts, by mail and HTTP request (`config.admin.notices`).
MAILERS = mail.read(env.email_url.get_secret_value())
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.email_from or "coppice@localhost"
ALERT_MAIL = env.alert_mail
ALERT_URL = env.alert_url.get_secret_value()
ALERT_SECRET = env.alert_secret.get_secret_value()
ALERT_REPEAT_HOURS = env.alert_repeat_hours
ALERT_QUIET_MINUTES = env.alert_quiet_minutes
BACKUP_HOURS = env.backup_hours

# JSON lines on stderr, without text of clients (config/ops/logs.py).
LOGGING = logs.settings(level=env.log_level)

# scrypt is memory-hard and needs no package. The others only verify; a successful login replaces their hash.
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "wallets.hashers.TreetrackerHasher",
]

AUTHENTICATION_BACKENDS = ["config.admin.backends.People"]
# For operators. `wallets.operations` checks the passwords of wallets.
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = f"{PATH_PREFIX}/static/"
STATIC_ROOT = ROOT / "staticfiles"

# Images of wallets (`wallets.images`).
MEDIA_ROOT = env.media or env.state_dir / "media"
MEDIA_URL = f"{PATH_PREFIX}/media/"
# The URL below which clients find them; "" follows each request.
MEDIA_ADDRESS = env.media_url or (PUBLIC_URL and f"{PUBLIC_URL}/media")
MEDIA_IS_LOCAL = not env.media_s3_bucket
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"allow_overwrite": False}}
    if MEDIA_IS_LOCAL
    else s3.store(
        bucket=env.media_s3_bucket,
        endpoint=env.media_s3_endpoint,
        region=env.media_s3_region,
        access_key=env.media_s3_access_key,
        secret_key=env.media_s3_secret_key.get_secret_value(),
    ),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024
# Other wallets are folders with one file per coin, which clients import in one request.
DATA_UPLOAD_MAX_NUMBER_FILES = 1000

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["config.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["config.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["config.api.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "config.api.errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "config.api.schema.Schema",
    "UNAUTHENTICATED_USER": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Coppice",
    "DESCRIPTION": (
        "Token wallets, transfers by trust, and RAIDA lockers.\n\n"
        "`POST /auth` returns a bearer token. Send it as `Authorization: Bearer …`, and your application's key as"
        " `TREETRACKER-API-KEY`; paths below `/api/` need the bearer token alone. The wallet of the bearer token is the"
        " *caller*. The caller *controls* a wallet if it is that wallet or manages it: by an accepted `manage` or"
        " `yield` trust relationship, or because it created the wallet.\n\n"
        "POST, PATCH and DELETE take an `Idempotency-Key`, except where an operation does not list it. All paths"
        " outside `/api/`, `/webhooks` and `/keys` are also served below `/wallet/`.\n\n"
        "Below `/wallet/v2/` the same paths answer as the later version of the public service: `limit` is optional, and"
        " `offset` takes the place of `start`; `POST /wallets`, `POST /trust_relationships` and `POST"
        " /wallets/batch-create-wallet` answer 201; a missing or invalid bearer token is 401; a name that is taken, a"
        " trust relationship that exists, too few tokens and a transfer in the wrong state are 409; another wallet's"
        " token is 403; `PATCH /wallets/{wallet_id}` and `GET /wallets/{wallet_id}/trust_relationships` of another"
        " wallet are 422; `POST /trust_relationships` names the originator `originator_wallet`. Set this prefix as the"
        " base URL of a client of that version. Descriptions say which fields and errors it alone has."
    ),
    "TAGS": [
        {"name": "authentication", "description": "Get a bearer token."},
        {"name": "wallets", "description": "Holders of tokens and coins."},
        {"name": "tokens", "description": "Planted trees, one each."},
        {"name": "transfers", "description": "Move tokens from one wallet to another."},
        {"name": "claim links", "description": "Give tokens to a person without a wallet."},
        {"name": "trusts", "description": "Let a wallet send without asking, or control another."},
        {"name": "events", "description": "What happened to wallets, in order."},
        {"name": "webhooks", "description": "Have events sent to a URL, signed."},
        {"name": "keys", "description": "Credentials for programs: some scopes, on some wallets."},
        {"name": "coins", "description": "Coins in wallets: balances, imports, transfers, checks and repairs."},
        {"name": "exports", "description": "Coins in files for their owners."},
        {"name": "lockers", "description": "Coins in lockers on 25 servers. Each put, peek and take is a task."},
        {"name": "payment requests", "description": "Ask to be paid coins, and pay."},
        {"name": "tasks", "description": "The state and result of tasks, and what they did with each coin."},
        {"name": "lockers at once", "description": "Puts, peeks and takes that are answered when they have ended."},
    ],
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["config.api.openapi_document.one_path_each"],
    "POSTPROCESSING_HOOKS": [
        "config.api.openapi_document.with_needed_bodies",
        "config.api.openapi_document.with_shared_parts",
        "config.api.openapi_document.with_servers",
        "config.api.openapi_document.with_webhooks",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Otherwise the page sends the document to an external validator.
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "validatorUrl": None,
        "defaultModelsExpandDepth": -1,
    },
}

# The first one is that of generated clients. A relative URL is that of the server that sent the document.
SPECTACULAR_SETTINGS["SERVERS"] = [
    {"url": PUBLIC_URL or "/", "description": "All paths. Those of the Treetracker API as its first version."},
    {"url": f"{PUBLIC_URL}/wallet", "description": "The paths of the Treetracker API, as its first version."},
    {"url": f"{PUBLIC_URL}/wallet/v2", "description": "The paths of the Treetracker API, as its later version."},
]

VAULT_KEY = env.vault_key.get_secret_value()
VAULT_OLD_KEYS = [key.get_secret_value() for key in env.vault_old_keys]
RAIDA_HOSTS = env.raida_hosts
RAIDA_TIMEOUT_SECONDS = env.raida_timeout_seconds
RAIDA_PLAINTEXT = env.raida_plaintext
CHECKED_COINS_PER_MINUTE = env.checked_coins_per_minute
STATE_DIR = env.state_dir
WORKERS = env.workers
OPEN_TASKS_PER_WALLET = env.open_tasks_per_wallet
WAITING_CALLS_PER_WALLET = env.waiting_calls_per_wallet
REQUESTS_PER_MINUTE = env.requests_per_minute
REQUESTS_PER_MINUTE_PER_KEY = env.requests_per_minute_per_key
TASKS_PER_MINUTE = env.tasks_per_minute
INQUIRIES_PER_MINUTE = env.inquiries_per_minute
WRONG_CODES_PER_WALLET = env.wrong_codes_per_wallet
WRONG_CODES_PER_ADDRESS = env.wrong_codes_per_address
BEARER_TOKEN_DAYS = env.bearer_token_days
BEARER_TOKENS_PER_WALLET = env.bearer_tokens_per_wallet
ANSWER_DAYS = env.answer_days
ENDED_TOKEN_DAYS = env.ended_token_days
DELIVERY_DAYS = env.delivery_days
EVENT_DAYS = env.event_days
OPEN_TRANSFER_HOURS = env.open_transfer_hours
CLAIM_LINK_HOURS = env.claim_link_hours
WRONG_CLAIM_CODES_PER_ADDRESS = env.wrong_claim_codes_per_address
WRONG_CLAIM_CODES = env.wrong_claim_codes
AUDIT_EVERY_MINUTES = env.audit_every_minutes
FULL_AUDIT_HOUR = env.full_audit_hour
SEAL_EVERY_MINUTES = env.seal_every_minutes
SEAL_KEY = env.seal_key.get_secret_value()
SEAL_OLD_KEYS = env.seal_old_keys
REQUEST_LOG_DAYS = env.request_log_days
REQUEST_LOG_MEGABYTES = env.request_log_megabytes
WEBHOOK_ALLOWED_NETWORKS = env.webhook_allowed_networks
METRICS_TOKEN = env.metrics_token.get_secret_value()
