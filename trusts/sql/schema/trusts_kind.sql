-- What each kind of trust gives: the power, and whether the actor or the target of the trust holds it.
-- The only definition: a trigger copies it into each trust, and everything else reads the view trusts_power.
CREATE OR REPLACE VIEW trusts_kind (request_type, power, is_held_by_actor) AS
VALUES ('send', 'send', true),
       ('receive', 'send', false),
       ('manage', 'manage', true),
       ('yield', 'manage', false);
