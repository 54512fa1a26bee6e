"""Status bytes of an answer (the RAIDA protocol, section 5) and the size of the network."""

from enum import IntEnum
from typing import Final

# The number of servers, and how many of them must agree (section 8).
RAIDA_COUNT: Final = 25
QUORUM: Final = 13


class Status(IntEnum):
    """
    Every status byte a server is known to send.

    204 has two meanings on the wire (INVALID_HMAC and BLOCKCHAIN); a locker client receives it only as the first.
    """

    NO_ERROR = 0
    INVALID_CLOUD_ID = 1
    INVALID_SPLIT_ID = 2
    INVALID_RAIDA_ID = 3
    INVALID_SHARD_ID = 4
    INVALID_COMMAND_GROUP = 5
    INVALID_COMMAND = 6
    INVALID_COIN_ID = 7
    OVERWRITE_FAILED = 8
    DB_ZERO_RECORDS = 9
    DB_ERROR = 10
    YOU_GOT_MAIL = 11
    SESSION_TIMEOUT = 12
    INVALID_UDP_FRAME_COUNT = 15
    INVALID_PACKET_LENGTH = 16
    UDP_FRAME_TIMEOUT = 17
    WRONG_RAIDA = 18
    SHARD_NOT_AVAILABLE = 20
    ENCRYPTION_COIN_NOT_FOUND = 25
    INVALID_ENCRYPTION_CODE = 27
    INVALID_EOF = 33
    INVALID_ENCRYPTION = 34
    EMPTY_REQUEST = 36
    INVALID_CRC = 37
    ADMIN_AUTH = 38
    COINS_NOT_DIV = 39
    INVALID_SN_OR_DENOMINATION = 40
    PAGE_IS_NOT_RESERVED = 41
    NO_TICKET_SLOT = 42
    NO_TICKET_FOUND = 43
    TICKET_CLAIMED_ALREADY = 44
    TOO_MANY_COINS = 45
    INVALID_SHARD = 46
    DELETE_COINS = 47
    LEGACY_DB = 48
    CROSSOVER_FULL = 49
    INVALID_TRADE_COIN = 50
    TRADE_LOCKER_NOT_FOUND = 51
    NO_PRIVATE_KEY = 52
    NOT_IMPLEMENTED = 89
    BAD_COINS = 90
    TRADE_LOCKER_EXISTS = 148
    NO_TRADE_LOCKER = 149
    WAITING = 150
    NO_BTC_IN_WALLET = 152
    FEW_COINS_IN_LOCKER = 153
    LOCKER_USED = 154
    REQUEST_RATE = 160
    TXN_PROCESSED = 177
    CRYPTO_CONNECT = 178
    LOCKER_EMPTY_OR_NOT_EXISTS = 179
    PROXY_CONNECT = 180
    PRICE = 181
    NO_COINS = 182
    TX_SEEN = 183
    NXRECORD = 184
    NXDOMAIN = 185
    UNKNOWN = 186
    PROXY = 187
    KEY_BUILD = 188
    EXTERNAL_BACKEND = 189
    TX_EMPTY = 190
    TX_NOT_EXIST = 191
    AMOUNT_MISMATCH = 192
    NO_ENTRY = 193
    FILESYSTEM = 194
    INVALID_KEY_START = 195
    INVALID_KEY_LENGTH = 196
    COIN_LOAD = 197
    INVALID_PARAMETER = 198
    INVALID_PAN = 199
    INVALID_AN = 200
    FILE_EXISTS = 201
    FILE_NOT_EXIST = 202
    INVALID_TRANSACTION = 203
    INVALID_HMAC = 204
    ASSEMBLE = 205
    RAIDA_TIMEOUT = 206
    RAIDA_CONNECTION = 207
    FIND_NEITHER = 208
    FIND_ALL_AN = 209
    FIND_ALL_PAN = 210
    FIND_MIXED = 211
    SN_NOT_AVAILABLE = 215
    ALL_PASS = 241
    ALL_FAIL = 242
    MIXED = 243
    SUCCESS = 250
    FAIL = 251
    INTERNAL = 252
    NETWORK = 253
    MEMORY_ALLOC = 254
    INVALID_ROUTING = 255


# Errors of the header: echo, signature and group of such an answer may belong to another request, so that it is
# matched by its socket alone (section 1.3, rule 2).
HEADER_STAGE: Final = frozenset(
    {
        Status.INVALID_SPLIT_ID,
        Status.INVALID_RAIDA_ID,
        Status.INVALID_SHARD_ID,
        Status.INVALID_COMMAND_GROUP,
        Status.INVALID_COMMAND,
        Status.INVALID_COIN_ID,
        Status.INVALID_PACKET_LENGTH,
        Status.INVALID_ENCRYPTION_CODE,
        Status.EMPTY_REQUEST,
        Status.INVALID_ROUTING,
    }
)

# Errors from before the challenge is verified: the echo is that of the request, the signature is stale or made with
# another key.
UNSIGNED: Final = frozenset(
    {
        Status.ENCRYPTION_COIN_NOT_FOUND,
        Status.INVALID_EOF,
        Status.INVALID_ENCRYPTION,
        Status.INVALID_CRC,
        Status.INVALID_HMAC,
    }
)

# The server could not decrypt the request, and did nothing (section 4).
UNREADABLE: Final = frozenset(
    {
        Status.ENCRYPTION_COIN_NOT_FOUND,
        Status.INVALID_ENCRYPTION_CODE,
        Status.INVALID_ENCRYPTION,
        Status.INVALID_CRC,
    }
)

# The locker is empty, never existed, or has another key: servers do not distinguish (sections 5 and 6.2).
NO_SUCH_LOCKER: Final = frozenset({Status.ALL_FAIL, Status.LOCKER_EMPTY_OR_NOT_EXISTS})
