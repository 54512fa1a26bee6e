-- The order of creation, by which lists of trusts are sorted.
CREATE SEQUENCE trusts_trust_number OWNED BY trusts_trust.number;
ALTER TABLE trusts_trust ALTER COLUMN number SET DEFAULT nextval('trusts_trust_number');
