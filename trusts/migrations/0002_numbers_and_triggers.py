"""The order of trusts, and the list of changes that can only grow."""

from django.db import migrations

FORWARDS = """
CREATE SEQUENCE trusts_trust_number OWNED BY trusts_trust.number;
ALTER TABLE trusts_trust ALTER COLUMN number SET DEFAULT nextval('trusts_trust_number');

CREATE FUNCTION coppice_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER trustchange_append_only BEFORE UPDATE OR DELETE ON trusts_trustchange
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('changes are only appended');
CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON wallets_event
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('events are only appended');
CREATE TRIGGER trust_kept BEFORE DELETE ON trusts_trust
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('a trust is cancelled, never deleted');
CREATE TRIGGER trust_parties_fixed BEFORE UPDATE ON trusts_trust FOR EACH ROW
    WHEN ((OLD.id, OLD.number, OLD.actor_id, OLD.target_id, OLD.originator_id, OLD.type, OLD.request_type, OLD.created_at)
        IS DISTINCT FROM
          (NEW.id, NEW.number, NEW.actor_id, NEW.target_id, NEW.originator_id, NEW.type, NEW.request_type, NEW.created_at))
    EXECUTE FUNCTION coppice_refuse('only the state of a trust changes');
CREATE TRIGGER wallet_kept BEFORE DELETE ON wallets_wallet
    FOR EACH ROW EXECUTE FUNCTION coppice_refuse('transfers and history name wallets for ever');
"""

BACKWARDS = """
DROP TRIGGER wallet_kept ON wallets_wallet;
DROP TRIGGER trust_parties_fixed ON trusts_trust;
DROP TRIGGER event_append_only ON wallets_event;
DROP TRIGGER trust_kept ON trusts_trust;
DROP TRIGGER trustchange_append_only ON trusts_trustchange;
DROP FUNCTION coppice_refuse();
ALTER TABLE trusts_trust ALTER COLUMN number DROP DEFAULT;
DROP SEQUENCE trusts_trust_number;
"""


class Migration(migrations.Migration):
    dependencies = [("trusts", "0001_initial")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
