-- The JSON of a transfer, in lists and in single answers: the fields of TRANSFER in
-- config/api/treetracker/transfer_serializers.py. `transfer` is a row of transfers_transfer; `originator`, `source` and
-- `destination` have the names of its wallets as JSON (name_json), `at` its creation (created), `{closed}` is that of
-- its closing. After these come whether it awaits an approval (`{awaits}` is a condition), its terms, and fields of v2
-- alone.
concat('{"id":"', transfer.id, '","type":"send","parameters":', transfer.parameters, ',"state":"', {state},
       '","created_at":', at.created,
       ',"closed_at":', coalesce({closed}, 'null'),
       ',"active":true,"claim":false,"originating_wallet":', originator.name_json,
       ',"source_wallet":', source.name_json, ',"destination_wallet":', destination.name_json,
       CASE WHEN {awaits} THEN ',"awaiting_approval":true' END{terms}{more}, '}')
