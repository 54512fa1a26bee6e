-- Open trusts of a wallet that a manager requested, accepted in its name, or controls it by. One that would give the
-- manager control if it accepted it counts even if it is not open, unless withdrawn. The last change of a trust in
-- force is its acceptance. Its changes are read and sorted (OFFSET 0): in the order of all changes, it may be far.
SELECT trust.id FROM trusts_trust AS trust
 WHERE (trust.actor_id = %(wallet)s OR trust.target_id = %(wallet)s) AND trust.number > 0
   AND (trust.state IN ('requested', 'trusted')
        AND (trust.originator_id = %(manager)s
             OR trust.holder_id = %(manager)s AND trust.type = 'manage'
             OR trust.state = 'trusted' AND trust.target_id = %(wallet)s
                AND (SELECT change.actor_id
                       FROM (SELECT * FROM trusts_trustchange WHERE trust_id = trust.id OFFSET 0) AS change
                      ORDER BY change.id DESC LIMIT 1) = %(manager)s)
        OR trust.target_id = %(manager)s AND trust.holder_id = %(manager)s AND trust.type = 'manage'
            AND NOT trust.withdrawn)
 ORDER BY trust.number
