"""The codes of errors of wallets and tokens (`config/api/error_codes.py`)."""

from collections.abc import Mapping
from typing import Final

from config.api.error_codes import API_KEY_ENDED, ErrorCode, Where, code
from wallets import errors as wallets
from wallets.errors import DomainError

BY_CLASS: Final[Mapping[type[DomainError], ErrorCode]] = {
    wallets.WalletNotFound: code(
        "wallet_not_found",
        404,
        "There is no such wallet",
        "No wallet has the name or the id in the request.",
        "Compare the spelling. The message says whether a name or an id was looked up.",
    ),
    wallets.InvalidWalletName: code(
        "wallet_name_invalid",
        400,
        "The text can never name a wallet",
        "The name holds white space or control characters.",
        "Correct the name.",
    ),
    wallets.MisleadingWalletName: code(
        "wallet_name_misleading",
        422,
        "The name looks like something else",
        "The name has the form of an id, or holds an invisible character and so looks like another name.",
        "Choose another name, without the character that the message names.",
    ),
    wallets.WalletNameTaken: code(
        "wallet_name_taken",
        403,
        "Another wallet has this name",
        "A wallet has this name already, perhaps in other letters that count as the same.",
        "Choose another name. If an earlier request of yours may have created the wallet, look it up first.",
    ),
    wallets.WalletNameLength: code(
        "wallet_name_length",
        422,
        "The name is too short or too long",
        "The name is shorter or longer than the message allows.",
        "Choose a name of a permitted length.",
    ),
    wallets.WalletNotControlled: code(
        "wallet_not_controlled",
        403,
        "The caller does not control the wallet",
        "The wallet is neither the caller's own nor managed by it at this moment.",
        "Log in as the wallet, or ask it for a trust that lets you manage it.",
    ),
    wallets.WrongPassword: code(
        "password_wrong",
        403,
        "The present password is wrong",
        "The password that the request names as the present one is not that of the caller's wallet.",
        "Correct it. Failed attempts are counted like failed logins, and refused beyond a limit.",
        where=Where.TREETRACKER,
    ),
    wallets.WeakPassword: code(
        "password_weak",
        422,
        "The new password is too weak",
        "The new password has fewer than 8 characters, or is the present one or the name of the wallet.",
        "Choose another password.",
        where=Where.TREETRACKER,
    ),
    wallets.SessionNotFound: code(
        "session_not_found",
        404,
        "There is no such session",
        "The caller's wallet has no session of this id, or it has ended.",
        "None is needed: the session is not valid.",
        where=Where.TREETRACKER,
    ),
    wallets.InvalidCredentials: code(
        "credentials_invalid",
        401,
        "Wallet and password do not match",
        "The password is wrong, or the wallet has none.",
        "Correct the password. Failed attempts are counted, and refused beyond a limit.",
        where=Where.TREETRACKER,
    ),
    wallets.ApiKeyEnded: API_KEY_ENDED,
    wallets.NotAnImage: code(
        "image_invalid",
        422,
        "The file is not an image",
        "The uploaded file is no JPEG or PNG, or is damaged.",
        "Send a JPEG or PNG file.",
        where=Where.TREETRACKER,
    ),
    wallets.TooManyPixels: code(
        "image_too_many_pixels",
        422,
        "The image has too many pixels",
        "Decoding the image would take too much memory; the message has the maximum.",
        "Scale the image down.",
        where=Where.TREETRACKER,
    ),
    wallets.ImageTooLarge: code(
        "image_too_large",
        413,
        "The image file is too large",
        "The uploaded file has more bytes than an image may have.",
        "Compress the image, or scale it down.",
        where=Where.TREETRACKER,
    ),
    wallets.ImageNotStored: code(
        "image_not_stored",
        503,
        "The image could not be stored",
        "The storage of images failed. Nothing was changed.",
        "Send the request again after the seconds in the Retry-After header.",
        where=Where.TREETRACKER,
    ),
    wallets.TokenNotFound: code(
        "token_not_found",
        404,
        "There is no such token",
        "No token has the id in the request.",
        "Compare the id with GET /tokens.",
        where=Where.TREETRACKER,
    ),
    wallets.TokenNotVisible: code(
        "token_not_visible",
        401,
        "The caller does not control the wallet of the token",
        "The caller controls no wallet that holds the token at this moment.",
        "Ask as the wallet that holds the token, or as its manager. The bearer token is valid: do not log in again.",
        where=Where.TREETRACKER,
    ),
    wallets.KeyInUse: code(
        "idempotency_key_in_use",
        409,
        "The first request with this key is still running",
        "A request with the same Idempotency-Key is in flight, or has only just completed.",
        "Send the same request again after the seconds in the Retry-After header. It gets the response of the first, or"
        " is processed if the first was refused.",
    ),
}
