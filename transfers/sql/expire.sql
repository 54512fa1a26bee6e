-- Closes the open ones of these transfers without moving a token, and frees the tokens that they reserved. A transfer
-- that another transaction has locked is being decided, and left out.
WITH due AS MATERIALIZED (
    SELECT id FROM transfers_transfer
     WHERE id = ANY (%(ids)s::uuid[]) AND state IN ('requested', 'pending')
     ORDER BY number FOR NO KEY UPDATE SKIP LOCKED
), {released}
UPDATE transfers_transfer AS transfer
   SET state = 'failed', reserved_count = 0, closed_at = clock_timestamp(), closed_from = transfer.state,
       closed_event = 'expire'
 WHERE transfer.id = ANY (ARRAY(SELECT id FROM due))
RETURNING transfer.id
