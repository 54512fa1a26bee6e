-- The tokens that transfers list, each once; a text that is no UUID, in one of its two usual forms, names none.
INSERT INTO import_listed (transfer_id, token, token_id)
SELECT DISTINCT transfer.id, found.token,
       CASE WHEN (token LIKE '________-____-____-____-____________' OR token NOT LIKE '%%-%%')
             AND length(replace(token, '-', '')) = 32 AND lower(replace(token, '-', '')) ~ '^[0-9a-f]*$'
            THEN token::uuid END
  FROM import_transfer AS transfer
 CROSS JOIN LATERAL jsonb_array_elements_text(
           CASE jsonb_typeof(parameters -> 'tokens') WHEN 'array' THEN parameters -> 'tokens' ELSE '[]' END
       ) AS found (token)
 WHERE transfer.fate <> 'left_out'
