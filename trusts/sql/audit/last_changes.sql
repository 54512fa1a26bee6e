SELECT format('trust %%s is %%s, its last change says %%s', trust.id, trust.state,
              coalesce(change.state, 'nothing'))
  FROM trusts_trust AS trust
  LEFT JOIN (SELECT DISTINCT ON (trust_id) trust_id, state FROM trusts_trustchange ORDER BY trust_id, id DESC
            ) AS change ON change.trust_id = trust.id
 WHERE change.state IS DISTINCT FROM trust.state
