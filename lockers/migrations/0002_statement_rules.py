"""What Django cannot say: lines of a statement are only appended."""

from django.db import migrations

FORWARDS = """
CREATE TRIGGER statementline_append_only BEFORE UPDATE OR DELETE ON lockers_statementline
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('lines are only appended');
CREATE TRIGGER receiptline_append_only BEFORE UPDATE OR DELETE ON lockers_receiptline
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('receipts are only appended');
CREATE TRIGGER account_kept BEFORE DELETE ON lockers_account
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('an account stays with its lines');
"""

BACKWARDS = """
DROP TRIGGER account_kept ON lockers_account;
DROP TRIGGER receiptline_append_only ON lockers_receiptline;
DROP TRIGGER statementline_append_only ON lockers_statementline;
"""


class Migration(migrations.Migration):
    dependencies = [("lockers", "0001_initial"), ("trusts", "0002_numbers_and_triggers")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
