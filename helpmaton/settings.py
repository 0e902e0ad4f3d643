"""All settings, read top to bottom; the environment decides (the variables are listed in the README)."""

from pathlib import Path
from urllib.parse import urlsplit

from django.urls import reverse_lazy

from helpmaton import env, logs

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"
API_VERSION = "2026-11-22"

# --- Who we are ---------------------------------------------------------------------------------------------------
STACK_NAME = env.stack_name("STACK_NAME")
SECRET_KEY = env.text("SECRET_KEY")
FIELD_ENCRYPTION_KEYS = env.fernet_keys("FIELD_ENCRYPTION_KEYS")
DEBUG = env.flag("DEBUG")
DEMO = env.flag("HELPMATON_DEMO")
PUBLIC_URL = env.url("PUBLIC_URL", ("http", "https"), "http://localhost:8000")
STREAM_URL = env.url("STREAM_URL", ("http", "https"), PUBLIC_URL)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", f"{urlsplit(PUBLIC_URL).hostname},localhost,127.0.0.1,[::1]")
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE_SSL = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"  # with "no-referrer" browsers send `Origin: null`, and no form is accepted

# --- Where data lives ---------------------------------------------------------------------------------------------
_database = env.database("DATABASE_URL", STACK_NAME)
DATABASES = {
    "default": {
        **_database,
        "ATOMIC_REQUESTS": False,  # it refuses async views
        "CONN_MAX_AGE": 0,  # every request has a thread of its own: a kept connection would never be used again
        "OPTIONS": {"application_name": STACK_NAME, "connect_timeout": 5, **_database["OPTIONS"]},
    }
}
REDIS_URL = env.url("REDIS_URL", ("redis", "rediss", "unix"))
REDIS_PREFIX = f"{STACK_NAME}:"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{REDIS_PREFIX}cache",
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": f"{REDIS_PREFIX}channels"},
    }
}
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": f"{REDIS_PREFIX}celery:"}
CELERY_TASK_DEFAULT_QUEUE = "work"
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE = {
    "sweep-lapsed-holds": {"task": "streams.tasks.sweep", "schedule": 10.0, "options": {"expires": 10}},
    "forget-idempotency-keys": {"task": "agents.tasks.forget_idempotency_keys", "schedule": 3600.0},
}

# --- Models --------------------------------------------------------------------------------------------------------
OPENAI_API_KEY = env.text("OPENAI_API_KEY", "")
OPENAI_BASE_URL = env.optional_url("OPENAI_BASE_URL", ("http", "https"))
OPENAI_ON_ABORT = env.choice("OPENAI_ON_ABORT", ("cancel", "drain"), "cancel")
OPENAI_IDLE_S = env.seconds("OPENAI_IDLE_S", 60)  # the longest silence of a provider, before and between tokens
SIMULATED_MODEL = "simulated/echo-1"
PROVIDER_CONFIGURED = bool(OPENAI_API_KEY or OPENAI_BASE_URL)
DEFAULT_MODEL = env.text("DEFAULT_MODEL", "gpt-4o-mini" if PROVIDER_CONFIGURED else SIMULATED_MODEL)

# --- Streams -------------------------------------------------------------------------------------------------------
STREAM_DRAIN_S = env.seconds("STREAM_DRAIN_S", 10)

# --- The application -----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "billing",
    "agents",
    "throttling",
    "streams",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
APPEND_SLASH = False  # a redirected POST becomes a GET; routes answer with and without the slash
ROOT_URLCONF = "helpmaton.urls"
ASGI_APPLICATION = "helpmaton.asgi.application"
AUTH_USER_MODEL = "agents.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
SERVESTATIC_USE_FINDERS = True  # nothing to collect before the first start
SERVESTATIC_AUTOREFRESH = False
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

# --- REST ----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "agents.api.authentication.ApiKeyAuthentication",
        "agents.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "agents.problems.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Helpmaton",
    "VERSION": API_VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "streams.openapi.add_streams",
    ],
}

# --- Staff admin ---------------------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "Helpmaton staff",
    "SITE_HEADER": "Helpmaton",
    "SITE_URL": "/",
    "SITE_FAVICONS": [{"rel": "icon", "href": lambda request: "data:,"}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
}

# --- What is written down ------------------------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
LOGGING = logs.configuration(LOG_LEVEL)
SENTRY_DSN = env.optional_url("SENTRY_DSN", ("http", "https"))
if SENTRY_DSN:
    import sentry_sdk

    # Frames, bodies and addresses may hold what customers wrote, breadcrumbs what was logged: none of it leaves the
    # process, and what does is redacted as the log is.
    sentry_sdk.init(
        dsn=SENTRY_DSN,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        before_send=logs.redact_event,
    )
