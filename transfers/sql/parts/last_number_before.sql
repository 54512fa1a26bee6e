-- The number up to which the transfers of a day of a wallet are that moved before {end}. A transfer is not closed before it
-- is created, so those of the spans that are created later, as all above them, are left out; but for a day with
-- transfers since the checkpoint of the spans, which say nothing of these.
least(last_number, CASE WHEN last_number <= (SELECT max(number) FROM transfers_listmark)
                        THEN (SELECT span * {span} - 1 FROM transfers_listspan
                               WHERE oldest_at >= {end} ORDER BY oldest_at, span LIMIT 1) END)
