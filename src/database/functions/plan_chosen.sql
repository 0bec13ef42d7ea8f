-- Updates the accounts of users whose plan changed.
--
-- Per statement, not per row: renaming a plan changes all its users.
CREATE OR REPLACE FUNCTION plan_chosen()
RETURNS trigger
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  owners uuid[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT array_agg(a.id) INTO owners FROM after_it a WHERE a.plan IS NOT NULL;
  ELSE
    -- Not a join: its plan is kept from when there was one row, and goes over one table for each row of the other.
    SELECT array_agg(c.id) INTO owners
    FROM (SELECT a.id, a.plan FROM after_it a EXCEPT SELECT b.id, b.plan FROM before_it b) c;
  END IF;
  IF owners IS NOT NULL THEN
    PERFORM recount_credits(owners);
  END IF;
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER users_credits_insert AFTER INSERT ON users REFERENCING NEW TABLE AS after_it
FOR EACH STATEMENT EXECUTE FUNCTION plan_chosen();

CREATE OR REPLACE TRIGGER users_credits_update AFTER UPDATE ON users
REFERENCING OLD TABLE AS before_it NEW TABLE AS after_it
FOR EACH STATEMENT EXECUTE FUNCTION plan_chosen();
