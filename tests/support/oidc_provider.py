"""A small OpenID Connect provider on a real socket, which can be made to send what it must not."""

import json
import secrets
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

CLIENT, SECRET = "coppice desk", "a secret: of the client"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


KEY, OTHER_KEY = new_key(), new_key()


@dataclass
class Provider:
    """Who is signed in there: `claims`. The other fields change what it answers."""

    port: int
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "s-1", "preferred_username": "nora"})
    # Changes the claims of an ID token before it is signed.
    alter: Callable[[dict[str, Any]], object] = lambda _: None
    sign: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode(claims, KEY, "RS256", headers={"kid": "one"})
    userinfo: dict[str, Any] | None = None
    document: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"one": KEY})
    refuses: str = ""
    broken: int = 0
    # Codes that were not used yet, with the request of each.
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    # Other claims for some codes.
    claims_of: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/realms/trees"

    def described(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **({} if self.userinfo is None else {"userinfo_endpoint": f"{self.issuer}/userinfo"}),
            **self.document,
        }

    def authorize(self, query: dict[str, str]) -> str:
        """Return the URL to which the browser is sent back."""
        if self.refuses:
            return f"{query['redirect_uri']}?{urlencode({'error': self.refuses, 'state': query['state']})}"
        assert (query["client_id"], query["response_type"]) == (CLIENT, "code")
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if authorization:
            user, _, password = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            client = (unquote_plus(user), unquote_plus(password))
        else:
            client = (form.get("client_id", ""), form.get("client_secret", ""))
        if client != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        # Each code once.
        query = self.codes.pop(form["code"], None)
        if query is None or query["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        digest = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if digest != query["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": query["nonce"],
            **self.claims_of.get(form["code"], self.claims),
        }  # fmt: skip
        self.alter(claims)
        return 200, {"id_token": self.sign(claims), "access_token": "an access token", "token_type": "Bearer"}

    def key_set(self) -> dict[str, Any]:
        return {
            "keys": [
                {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": "RS256"}
                for kid, key in self.keys.items()
            ]
        }


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            name = parts.path.rpartition("/")[2]
            provider.requests.append(name)
            if provider.broken:
                self._answer(provider.broken, {})
            elif name == "openid-configuration":
                self._answer(200, provider.described())
            elif name == "keys":
                self._answer(200, provider.key_set())
            elif name == "userinfo" and self.headers["Authorization"] == "Bearer an access token":
                self._answer(200, provider.userinfo)
            elif name == "authorize":
                self.send_response(302)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                self.send_header("Location", provider.authorize(query))
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._answer(404, {})

        def do_POST(self) -> None:
            provider.requests.append("token")
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer(
                *provider.token({key: values[0] for key, values in form.items()}, self.headers.get("Authorization", ""))
            )

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def providing() -> Iterator[Provider]:
    """Serve on a free port of 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    provider = Provider(server.server_port)
    server.RequestHandlerClass = _handler(provider)
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
