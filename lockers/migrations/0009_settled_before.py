"""What was settled before there was a place to say so."""

from django.db import migrations

# Coins that were left open and have been settled before there was a place to say so. What puts tell follows, because
# a put that is believed to have failed is paid a second time.
LINES_THAT_WERE_SETTLED = """
UPDATE lockers_receiptline AS line SET became = later.state, settled_by_id = later.task_id
  FROM (SELECT DISTINCT ON (line.id) line.id, later.state, later.task_id FROM lockers_receiptline AS line
          JOIN lockers_receiptline AS later USING (denomination, serial_number)
         WHERE line.state IN ('limbo', 'errored') AND later.id > line.id AND later.state NOT IN ('limbo', 'errored')
         ORDER BY line.id, later.id) AS later
 WHERE line.id = later.id
"""
PUTS_THAT_WERE_SETTLED = """
WITH now AS (
    SELECT task.id, coalesce(sum(10::numeric ^ (line.denomination + 8))
                             FILTER (WHERE coalesce(line.became, line.state) IN ('locked', 'sent')), 0)::bigint AS stored,
           max(line.settled_by_id::text)::uuid AS settled_by
      FROM lockers_lockertask AS task JOIN lockers_receiptline AS line ON line.task_id = task.id
     WHERE task.kind = 'put' AND task.state <> 'running'
     GROUP BY task.id
    HAVING bool_or(line.settled_by_id IS NOT NULL)
       AND NOT bool_or(line.state IN ('limbo', 'errored') AND line.settled_by_id IS NULL))
UPDATE lockers_lockertask AS task
   SET state = CASE WHEN now.stored > 0 THEN 'completed' ELSE 'error' END,
       progress = CASE WHEN now.stored > 0 THEN 100 ELSE least(progress, 99) END,
       message = CASE WHEN now.stored = task.amount THEN 'Stored.'
                      WHEN now.stored > 0 THEN 'Stored in part; the rest is back in the wallet.'
                      ELSE 'Nothing left the wallet.' END || ' Unknown at first; settled later.',
       result = task.result || jsonb_build_object(
           'total_stored', now.stored, 'total_failed', task.amount - now.stored, 'total_unknown', 0),
       settled_by_id = now.settled_by, settled_at = (SELECT finished_at FROM lockers_lockertask WHERE id = now.settled_by)
  FROM now WHERE task.id = now.id
"""


class Migration(migrations.Migration):
    dependencies = [("lockers", "0008_settled_later")]

    operations = [
        migrations.RunSQL(LINES_THAT_WERE_SETTLED, migrations.RunSQL.noop),
        migrations.RunSQL(PUTS_THAT_WERE_SETTLED, migrations.RunSQL.noop),
    ]
