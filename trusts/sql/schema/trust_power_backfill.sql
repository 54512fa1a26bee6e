UPDATE trusts_trust AS trust
   SET holder_id = CASE WHEN kind.is_held_by_actor THEN trust.actor_id ELSE trust.target_id END,
       subject_id = CASE WHEN kind.is_held_by_actor THEN trust.target_id ELSE trust.actor_id END
  FROM trusts_kind AS kind
 WHERE kind.request_type = trust.request_type;
