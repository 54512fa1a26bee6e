"""
The wallets of a manager in the order in which they are listed.

Decided 2026-11-22, against reading all that are managed and sorting them for each page: with 120 wallets that was a third
of what a page cost PostgreSQL, and it grew with every wallet. A wallet's time of creation never changes, so a copy of it
in the trust cannot be wrong, and an index on it gives the page.
"""

from django.db import migrations, models

# Before anything of trusts, as in a request that creates a wallet: two that lock in one order wait, and end.
WALLET_FORWARDS = """
CREATE TRIGGER wallet_created_once BEFORE UPDATE OF created_at ON wallets_wallet FOR EACH ROW
    WHEN (OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION coppice_refuse('a wallet is created once');
"""
WALLET_BACKWARDS = "DROP TRIGGER wallet_created_once ON wallets_wallet;"

FORWARDS = """
CREATE FUNCTION trusts_know_the_managed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.managed_created_at := (
        SELECT created_at FROM wallets_wallet
         WHERE id = CASE NEW.request_type WHEN 'manage' THEN NEW.target_id WHEN 'yield' THEN NEW.actor_id END);
    RETURN NEW;
END $$;
CREATE TRIGGER trust_knows_the_managed BEFORE INSERT ON trusts_trust
    FOR EACH ROW EXECUTE FUNCTION trusts_know_the_managed();

UPDATE trusts_trust AS trust SET managed_created_at = wallet.created_at
  FROM wallets_wallet AS wallet
 WHERE wallet.id = CASE trust.request_type WHEN 'manage' THEN trust.target_id WHEN 'yield' THEN trust.actor_id END;

CREATE TRIGGER trust_managed_fixed BEFORE UPDATE OF managed_created_at ON trusts_trust FOR EACH ROW
    WHEN (OLD.managed_created_at IS DISTINCT FROM NEW.managed_created_at)
    EXECUTE FUNCTION coppice_refuse('only the state of a trust changes');
"""

BACKWARDS = """
DROP TRIGGER trust_managed_fixed ON trusts_trust;
DROP TRIGGER trust_knows_the_managed ON trusts_trust;
DROP FUNCTION trusts_know_the_managed();
"""


class Migration(migrations.Migration):
    dependencies = [("trusts", "0002_numbers_and_triggers"), ("wallets", "0007_answers_lock_no_wallet")]

    operations = [
        migrations.RunSQL(WALLET_FORWARDS, WALLET_BACKWARDS),
        migrations.AddField(
            model_name="trust",
            name="managed_created_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
        migrations.AddIndex(
            model_name="trust",
            index=models.Index(
                condition=models.Q(("managed_created_at__isnull", False), ("request_type", "manage"), ("state", "trusted")),
                fields=["actor", "managed_created_at", "target"],
                name="trust_manages",
            ),
        ),
        migrations.AddIndex(
            model_name="trust",
            index=models.Index(
                condition=models.Q(("managed_created_at__isnull", False), ("request_type", "yield"), ("state", "trusted")),
                fields=["target", "managed_created_at", "actor"],
                name="trust_yields",
            ),
        ),
        migrations.AddConstraint(
            model_name="trust",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("managed_created_at__isnull", False), ("type", "manage")),
                    models.Q(("managed_created_at", None), ("type", "send")),
                    _connector="OR",
                ),
                name="trust_knows_the_managed",
            ),
        ),
    ]
