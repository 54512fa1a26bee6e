-- A page of the trusts in which one of the wallets of "party" is a party, in any order, and their number. All of these
-- trusts are read, so that they can be sorted and counted. Without rows the number is in one row of NULLs.
WITH me AS MATERIALIZED (SELECT %(actor)s::uuid AS id), party AS MATERIALIZED (
    SELECT id FROM ({parties}) AS wallet
), managed AS MATERIALIZED ({controlled}), listed AS (
    SELECT trust.number FROM party JOIN trusts_trust AS trust ON trust.actor_id = party.id
     WHERE trust.number > 0 {condition}
    UNION
    SELECT trust.number FROM party JOIN trusts_trust AS trust ON trust.target_id = party.id
     WHERE trust.number > 0 {condition}
    UNION
    SELECT trust.number FROM party JOIN trusts_trust AS trust ON trust.originator_id = party.id
     WHERE trust.originator_id <> trust.actor_id AND trust.number > 0 {condition}
), matching AS MATERIALIZED (
    SELECT trust.number, trust.id, {columns}
      FROM listed JOIN trusts_trust AS trust ON trust.number = listed.number {names}
     WHERE {matches}
), page AS (
    SELECT * FROM matching WHERE {behind} ORDER BY {order}
     LIMIT (SELECT %(fetch)s::bigint) OFFSET (SELECT %(offset)s::bigint)
)
SELECT counted.total, {position}, shown.*
  FROM (SELECT count(*) AS total FROM matching) AS counted
  LEFT JOIN page ON true
  {shown}
 ORDER BY {page_order}
