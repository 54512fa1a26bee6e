"""Answers that come after a verdict, and lockers that lack servers."""

from django.db import migrations, models

# A server that stored a coin never takes that back; which coin it was and what became of it never changes.
FORWARDS = """
DROP TRIGGER receiptline_append_only ON lockers_receiptline;
CREATE TRIGGER receiptline_kept BEFORE DELETE ON lockers_receiptline
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('receipts are only appended');
CREATE TRIGGER receiptline_append_only BEFORE UPDATE ON lockers_receiptline
    FOR EACH ROW WHEN (
        (OLD.id, OLD.task_id, OLD.denomination, OLD.serial_number, OLD.state)
            IS DISTINCT FROM (NEW.id, NEW.task_id, NEW.denomination, NEW.serial_number, NEW.state)
        OR NEW.pown !~ ('^' || regexp_replace(OLD.pown, '[^p]', '.', 'g') || '$'))
    EXECUTE FUNCTION coppice_refuse('of a receipt only letters of servers change that had not stored the coin');
UPDATE lockers_locker SET mend_at = now()
 WHERE state = 'filled' AND EXISTS (
    SELECT FROM lockers_coin AS coin
     WHERE coin.locker_id = lockers_locker.id AND coin.state = 'locked' AND coin.passes < 25);
"""

BACKWARDS = """
DROP TRIGGER receiptline_append_only ON lockers_receiptline;
DROP TRIGGER receiptline_kept ON lockers_receiptline;
CREATE TRIGGER receiptline_append_only BEFORE UPDATE OR DELETE ON lockers_receiptline
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('receipts are only appended');
"""


class Migration(migrations.Migration):
    dependencies = [("lockers", "0006_turns_and_waiting_claims")]

    operations = [
        migrations.AddField("locker", "mend_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("locker", "mends", models.IntegerField(db_default=0, default=0)),
        migrations.AddField("lockertask", "listens_until", models.DateTimeField(blank=True, null=True)),
        migrations.AddIndex(
            "locker",
            models.Index(fields=["mend_at"], condition=models.Q(mend_at__isnull=False), name="locker_to_mend"),
        ),
        migrations.AddIndex(
            "lockertask",
            models.Index(
                fields=["listens_until"], condition=models.Q(listens_until__isnull=False), name="task_listening"
            ),
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
    ]
