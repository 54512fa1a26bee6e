-- The tokens that transfers list, each once, in whatever form; a text that is no UUID, in one of its two usual forms,
-- names none.
INSERT INTO import_listed (transfer_id, token, token_id)
SELECT DISTINCT ON (transfer.id, coalesce(found.token_id::text, found.token)) transfer.id, found.token, found.token_id
  FROM import_transfer AS transfer
 CROSS JOIN LATERAL (
           SELECT listed.token,
                  CASE WHEN (listed.token LIKE '________-____-____-____-____________' OR listed.token NOT LIKE '%%-%%')
                        AND length(replace(listed.token, '-', '')) = 32
                        AND lower(replace(listed.token, '-', '')) ~ '^[0-9a-f]*$'
                       THEN listed.token::uuid END AS token_id
             FROM jsonb_array_elements_text(
                      CASE jsonb_typeof(parameters -> 'tokens') WHEN 'array' THEN parameters -> 'tokens' ELSE '[]' END
                  ) AS listed (token)
       ) AS found
 WHERE transfer.fate <> 'left_out'
 ORDER BY transfer.id, coalesce(found.token_id::text, found.token), found.token
