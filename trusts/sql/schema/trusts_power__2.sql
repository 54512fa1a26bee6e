-- The powers in force: the holder may do to the subject what the power says ("send" tokens to it, "manage" it).
-- SELECT … FOR SHARE locks the trust that gives the power.
CREATE OR REPLACE VIEW trusts_power AS
SELECT trust.id AS trust_id, trust.type AS power, trust.holder_id, trust.subject_id, trust.managed_created_at,
       trust.managed_name, trust.managed_name_key, trust.managed_has_password, trust.request_type
  FROM trusts_trust AS trust
 WHERE trust.state = 'trusted';
