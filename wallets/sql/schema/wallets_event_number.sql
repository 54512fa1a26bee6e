-- The order of all events, those of transfers included: see wallets/event_sequence.py.
CREATE SEQUENCE wallets_event_number OWNED BY wallets_event.number;
