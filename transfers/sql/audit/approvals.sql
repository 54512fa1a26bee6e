SELECT format('transfer %%s is %%s, needs an approval of what wallet %%s asked for, and has one of wallet %%s',
              transfer.id, state, coalesce(approval_asked_by_id::text, '-'), coalesce(approved_by_id::text, '-'))
  FROM {transfers} AS transfer
 WHERE approval_of IS NOT NULL
   AND (approval_of NOT IN ('send', 'fulfill') OR approval_asked_by_id IS NULL
        OR state = 'completed' AND approved_at IS NULL OR state = 'requested'
        OR (approved_at IS NULL) <> (approved_by_id IS NULL) OR approval_asked_with = approved_with)
    OR approval_of IS NULL
   AND (approval_asked_by_id IS NOT NULL OR approval_asked_with IS NOT NULL OR approved_at IS NOT NULL
        OR approved_by_id IS NOT NULL OR approved_with IS NOT NULL)
