SELECT format('transfer %%s, %%s, expired at %%s', transfer.id, state, expires_at)
  FROM {transfers} AS transfer
 WHERE state = ANY (%(open)s::text[])
   AND expires_at < statement_timestamp() - make_interval(mins => %(overdue_minutes)s)
