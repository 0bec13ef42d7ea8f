-- Subtracts the accounts of deleted users from the sum of all credits.
CREATE OR REPLACE FUNCTION credits_left()
RETURNS trigger
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('credits.totals'), pg_backend_pid() % 64);
  INSERT INTO credit_totals AS t (basis, stripe, users, own, bonus)
  SELECT b.basis, pg_backend_pid() % 64, -count(*), -sum(b.own), -sum(b.bonus)
  FROM before_it b WHERE b.basis IS NOT NULL
  GROUP BY b.basis ORDER BY b.basis
  ON CONFLICT ON CONSTRAINT credit_totals_pkey DO UPDATE SET users = t.users + excluded.users, own = t.own + excluded.own, bonus = t.bonus + excluded.bonus;
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER credit_accounts_left AFTER DELETE ON credit_accounts REFERENCING OLD TABLE AS before_it
FOR EACH STATEMENT EXECUTE FUNCTION credits_left();
