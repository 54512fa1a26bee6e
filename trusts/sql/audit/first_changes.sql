SELECT format('trust %%s of %%s', trust.id, trust.originator_id)
  FROM trusts_trust AS trust
  LEFT JOIN (SELECT DISTINCT ON (trust_id) trust_id, event, actor_id FROM trusts_trustchange
              ORDER BY trust_id, id) AS change ON change.trust_id = trust.id
 WHERE change.event IS DISTINCT FROM '' OR change.actor_id IS DISTINCT FROM trust.originator_id
