-- Pending transfers of tokens that another one gets: that by which the source reserves them, otherwise the oldest.
INSERT INTO import_finding (kind, object, id, detail, action, other)
SELECT DISTINCT ON (id) 'listed_reserved', 'transfer', id,
       format('token %%s is reserved for transfer %%s', token_id, winner), 'fail', winner
  FROM (SELECT planned.id, listed.token_id,
               first_value(planned.id) OVER (
                   PARTITION BY listed.token_id
                       ORDER BY token.transfer_pending_id IS NOT DISTINCT FROM planned.id DESC, planned.created_at,
                                planned.id) AS winner
          FROM import_group AS planned
          JOIN import_listed AS listed ON listed.transfer_id = planned.id
          JOIN import_token AS token ON token.id = listed.token_id
         WHERE planned.state = 'pending' AND NOT planned.is_known
           AND NOT EXISTS (SELECT FROM import_finding AS finding
                            WHERE finding.id = planned.id AND finding.action = 'fail')) AS claimed
 WHERE winner <> id
 ORDER BY id, token_id
