"""Forms with a CSV file."""

from typing import Any

CREATE, TRANSFER = "/wallets/batch-create-wallet", "/wallets/batch-transfer"


BOUNDARY = "XBOUNDARYX"


def form(file: Any, /, *, kind: str = "text/csv", filename: str = "w.csv", **fields: Any) -> Any:
    """Write a multipart form as browsers do."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if file is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="csv"; filename="{filename}"\r\n'
        content = file if isinstance(file, bytes) else file.encode()
        named = "" if kind is None else f"Content-Type: {kind}\r\n"
        parts.append(f"{head}{named}\r\n".encode() + content + b"\r\n")
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def upload(caller: Any, path: Any, file: Any, /, *, headers: Any = None, **fields: Any) -> Any:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return caller.send("POST", path, form(file, **fields), **{"content-type": kind, **(headers or {})})
