"""What operators did is only appended; an audit that ended stays as it ended."""

from django.db import migrations

FORWARDS = """
CREATE TRIGGER operatoraction_append_only BEFORE UPDATE OR DELETE ON wallets_operatoraction
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('what operators did is only appended');
CREATE TRIGGER auditrun_final BEFORE UPDATE ON wallets_auditrun FOR EACH ROW
    WHEN (OLD.result <> 'running') EXECUTE FUNCTION coppice_refuse('an audit that ended never changes');
CREATE TRIGGER auditrun_kept BEFORE DELETE ON wallets_auditrun FOR EACH ROW
    WHEN (OLD.result IN ('running', 'unsound')) EXECUTE FUNCTION coppice_refuse('what an audit found is kept');
"""

BACKWARDS = """
DROP TRIGGER auditrun_kept ON wallets_auditrun;
DROP TRIGGER auditrun_final ON wallets_auditrun;
DROP TRIGGER operatoraction_append_only ON wallets_operatoraction;
"""


class Migration(migrations.Migration):
    # The function comes with the triggers of the trusts app.
    dependencies = [("wallets", "0003_operators_and_audits"), ("trusts", "0002_numbers_and_triggers")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
