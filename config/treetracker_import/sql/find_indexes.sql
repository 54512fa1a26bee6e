-- How to drop and to make again each index of the tables, which this session owns; not those by which a row is referred
-- to. That of a unique constraint goes with the constraint. A condition with a list stays, because PostgreSQL does not
-- store it again in the same form: it is that of open transfers, which are few. An index of a partition goes with that
-- of the partitioned table; a constraint of a partition counts as one of that table.
SELECT coalesce(whole.relname, owner.relname),
       CASE WHEN rule.oid IS NULL THEN format('DROP INDEX %%I.%%I', place.nspname, index.relname)
            ELSE format('ALTER TABLE %%I.%%I DROP CONSTRAINT %%I', place.nspname, owner.relname, rule.conname) END,
       CASE WHEN rule.oid IS NULL THEN replace(pg_get_indexdef(index.oid), ' ON ONLY ', ' ON ')
            ELSE format('ALTER TABLE %%I.%%I ADD CONSTRAINT %%I %%s', place.nspname, owner.relname, rule.conname,
                        pg_get_constraintdef(rule.oid)) END
  FROM pg_index AS part
  JOIN pg_class AS index ON index.oid = part.indexrelid
  JOIN pg_class AS owner ON owner.oid = part.indrelid
  JOIN pg_namespace AS place ON place.oid = owner.relnamespace
  LEFT JOIN pg_constraint AS rule ON rule.conindid = part.indexrelid AND rule.conrelid = part.indrelid
  LEFT JOIN pg_inherits AS bond ON bond.inhrelid = owner.oid
  LEFT JOIN pg_class AS whole ON whole.oid = bond.inhparent
 WHERE coalesce(whole.oid, owner.oid) = ANY (%(tables)s::text[]::regclass[]) AND NOT part.indisprimary
   AND NOT index.relispartition
   AND pg_has_role(owner.relowner, 'USAGE')
   AND NOT EXISTS (SELECT FROM pg_constraint AS key WHERE key.contype = 'f' AND key.conindid = part.indexrelid)
   AND coalesce(pg_get_expr(part.indpred, part.indrelid) NOT LIKE '%%ARRAY[%%', true)
 ORDER BY index.relname
