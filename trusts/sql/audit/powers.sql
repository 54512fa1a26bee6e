SELECT format('trust %%s', trust.id)
  FROM trusts_trust AS trust
  LEFT JOIN trusts_kind AS kind ON kind.request_type = trust.request_type
 WHERE (trust.type, trust.holder_id, trust.subject_id) IS DISTINCT FROM
       (kind.power, CASE WHEN kind.is_held_by_actor THEN trust.actor_id ELSE trust.target_id END,
        CASE WHEN kind.is_held_by_actor THEN trust.target_id ELSE trust.actor_id END)
