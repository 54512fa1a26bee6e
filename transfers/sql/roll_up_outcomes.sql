-- Adds the transfers since the checkpoint to the tallies. Each outcome gets a row, so all have the same checkpoint.
-- The final events may end one number earlier than when the checkpoint was written (`wallets.event_sequence`): then it
-- stays.
WITH since AS ({since})
INSERT INTO transfers_outcometally AS tally (outcome, transfers, number)
SELECT known.outcome, coalesce(sum(since.transfers), 0), %(until)s
  FROM unnest(%(all)s::text[]) AS known (outcome) LEFT JOIN since ON since.outcome = known.outcome
 GROUP BY known.outcome
    ON CONFLICT (outcome) DO UPDATE
   SET transfers = tally.transfers + EXCLUDED.transfers, number = greatest(tally.number, EXCLUDED.number)
