"""
Keys of stored names are NFKC_Casefold: characters that are not seen no longer tell names apart.

A key that would become empty, or that of another wallet, stays as it is: that wallet is reached by its id, and
`manage.py doctor` lists it. Only names with other characters than ASCII can change.
"""

from collections import defaultdict
from typing import Any
from uuid import UUID

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from wallets.names import name_key


def recompute(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    wallet: Any = apps.get_model("wallets", "Wallet")
    claims: defaultdict[str, list[UUID]] = defaultdict(list)
    named = wallet.objects.filter(name__regex=r"[^\x01-\x7f]").values_list("pk", "name", "name_key")
    for pk, name, stored in named.iterator():
        if (key := name_key(name)) != stored:
            claims[key].append(pk)
    for key, wallets in claims.items():
        if key and len(wallets) == 1 and not wallet.objects.filter(name_key=key).exists():
            wallet.objects.filter(pk=wallets[0]).update(name_key=key)


class Migration(migrations.Migration):
    dependencies = [("wallets", "0008_written_for_lists")]

    operations = [migrations.RunPython(recompute, migrations.RunPython.noop)]
