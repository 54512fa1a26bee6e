transfers_count_available(decision.source_id, %(size)s::integer)
