-- Other checks exempt what is detached.
SELECT format('%%s has movements below %%s of transfers up to %%s, and these are attached or not sealed',
              detached.name, detached.below, detached.last_transfer)
  FROM transfers_detachedpartition AS detached
 WHERE EXISTS (SELECT FROM transfers_movement AS movement WHERE movement.id < detached.below)
    OR NOT EXISTS (SELECT FROM transfers_seal AS seal
                    WHERE seal.movements >= detached.below - 1
                      AND seal.transfers >= coalesce(detached.last_transfer, 0))
