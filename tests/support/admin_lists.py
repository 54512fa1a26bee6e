"""Lists of the desk."""

LISTS = [
    "wallets_wallet",
    "wallets_token",
    "wallets_apikey",
    "wallets_bearertoken",
    "wallets_restrictedkey",
    "wallets_auditrun",
    "wallets_operatoraction",
    "trusts_trust",
    "transfers_transfer",
    "lockers_lockertask",
    "lockers_locker",
    "lockers_coin",
    "lockers_paymentrequest",
    "desk_request",
    "auth_user",
]
