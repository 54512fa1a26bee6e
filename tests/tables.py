"""The tables of the test database."""

from django.db import connection

# No test changes these tables, and to fill them again takes longer than to empty all others.
_KEPT = {"django_content_type", "auth_permission"}
# From this size of the largest table on, tables are truncated: deleted rows would make them grow.
_MANY_PAGES = 64


def empty_tables() -> None:
    """
    Delete the rows that tests have committed.

    `TRUNCATE` of some forty tables creates some two hundred files; most tests leave a few rows in ten tables. To plan a
    deletion, a new session reads the catalog entries of the table and of all its indexes, so it deletes only from
    tables that have pages. The rows of a partitioned table are in pages of other tables.
    """
    tables = sorted({*connection.introspection.django_table_names(only_existing=False)} - _KEPT)
    names = ", ".join(map(connection.ops.quote_name, tables))
    plain = ",".join(tables)
    with connection.cursor() as cursor:
        # The lock waits for transactions that are still open. Triggers and foreign keys are not checked.
        cursor.execute(f"""
            DO $$ DECLARE written regclass; BEGIN
                LOCK TABLE {names} IN EXCLUSIVE MODE;
                IF (SELECT max(pg_relation_size(each::regclass)) / current_setting('block_size')::int
                      FROM unnest('{{{plain}}}'::text[]) AS each) > {_MANY_PAGES} THEN
                    TRUNCATE {names};
                ELSE
                    SET LOCAL session_replication_role = replica;
                    FOR written IN
                        SELECT oid FROM pg_class
                         WHERE oid = ANY ('{{{plain}}}'::regclass[])
                           AND (relkind = 'p' OR pg_relation_size(oid) > 0)
                    LOOP
                        EXECUTE format('DELETE FROM %s', written);
                    END LOOP;
                END IF;
            END $$
        """)
