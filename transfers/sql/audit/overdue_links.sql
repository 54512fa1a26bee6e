SELECT format('claim link %%s expired at %%s', id, expires_at)
  FROM transfers_actiontoken
 WHERE state = 'active' AND expires_at < statement_timestamp() - make_interval(mins => %(overdue_minutes)s)
