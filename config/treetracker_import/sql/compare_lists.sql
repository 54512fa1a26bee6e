-- How many tokens each transfer lists, and whether a completed one moved others.
INSERT INTO import_list (transfer_id, tokens, is_to_rewrite)
SELECT listed.transfer_id, listed.tokens,
       transfer.state = 'completed' AND (listed.moved <> listed.tokens OR listed.tokens <> coalesce(steps.tokens, 0))
  FROM (SELECT listed.transfer_id, count(*) AS tokens, count(step.token_id) AS moved
          FROM import_listed AS listed
          LEFT JOIN import_step AS step
            ON step.group_id = listed.transfer_id AND step.token_id = listed.token_id AND step.rank = 2
         GROUP BY listed.transfer_id) AS listed
  JOIN import_transfer AS transfer ON transfer.id = listed.transfer_id
  LEFT JOIN (SELECT group_id, count(*) AS tokens FROM import_step WHERE rank = 2 GROUP BY group_id) AS steps
    ON steps.group_id = listed.transfer_id
