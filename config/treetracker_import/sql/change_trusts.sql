-- Trusts that the source changed: each side's change is the change of the wallet on that side.
WITH changed AS (
    UPDATE trusts_trust AS here
       SET state = trust.state, updated_at = trust.updated_at,
           withdrawn = CASE trust.state WHEN 'trusted' THEN false WHEN 'cancelled_by_originator' THEN true
                                        ELSE here.withdrawn END
      FROM import_trust AS trust
     WHERE trust.id = here.id AND trust.fate = 'change' AND trust.state <> here.state
 RETURNING here.id, here.actor_id, here.target_id, here.state
)
INSERT INTO trusts_trustchange (trust_id, actor_id, event, state, created_at)
SELECT id, CASE state WHEN 'cancelled_by_originator' THEN actor_id ELSE target_id END,
       CASE state WHEN 'trusted' THEN 'accept' WHEN 'cancelled_by_target' THEN 'decline' ELSE 'delete' END, state,
       %(now)s::timestamptz
  FROM changed
