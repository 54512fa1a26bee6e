-- The order in which tokens arrive: wallets_token.arrival and transfers_movement.id.
CREATE SEQUENCE transfers_arrival OWNED BY transfers_movement.id;
