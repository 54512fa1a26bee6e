-- Closes the active ones of these claim links without moving a token, and frees the tokens that they reserved.
-- A link that another transaction has locked is being decided, and left out.
WITH due AS MATERIALIZED (
    SELECT id FROM transfers_actiontoken
     WHERE id = ANY (%(ids)s::uuid[]) AND state = 'active'
     ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), {released}
UPDATE transfers_actiontoken AS link
   SET state = %(state)s::text, closed_at = clock_timestamp(), closed_by_id = %(actor)s::uuid
 WHERE link.id = ANY (ARRAY(SELECT id FROM due))
RETURNING link.id
