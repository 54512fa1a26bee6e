#!/bin/sh
# Copies the primary if there is no copy yet, and then streams from it. A copy that was interrupted is made again.
set -eu
slot=coppice_replica
export PGHOST="${PRIMARY_HOST:-postgres}" PGUSER="${PRIMARY_USER:-coppice}"

if [ ! -f "$PGDATA/standby.signal" ]; then
    find "$PGDATA" -mindepth 1 -delete
    psql -d postgres -qtAX -c "SELECT pg_create_physical_replication_slot('$slot')
        WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$slot')"
    pg_basebackup -D "$PGDATA" -S "$slot" -X stream --checkpoint=fast
    chmod 700 "$PGDATA"
    # The password comes from the environment (PGPASSWORD). Written last: this file marks a complete copy.
    printf "primary_conninfo = 'host=%s user=%s'\nprimary_slot_name = '%s'\n" "$PGHOST" "$PGUSER" "$slot" \
        >>"$PGDATA/postgresql.auto.conf"
    touch "$PGDATA/standby.signal"
fi
exec postgres -c hot_standby_feedback=on "$@"
