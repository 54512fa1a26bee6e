CREATE OR REPLACE TRIGGER transfer_terms_fixed BEFORE UPDATE ON transfers_transfer FOR EACH ROW
    WHEN ((OLD.id, OLD.number, OLD.originator_id, OLD.source_id, OLD.destination_id, OLD.token_count, OLD.created_at,
           OLD.expires_at, OLD.has_terms)
        IS DISTINCT FROM
          (NEW.id, NEW.number, NEW.originator_id, NEW.source_id, NEW.destination_id, NEW.token_count, NEW.created_at,
           NEW.expires_at, NEW.has_terms)
        OR OLD.parameters IS DISTINCT FROM NEW.parameters)
    EXECUTE FUNCTION coppice_refuse('parties, size, parameters and terms of a transfer cannot change');
