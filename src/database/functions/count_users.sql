-- Counts users that are created or deleted, also against the limit on all objects of the platform.
-- Raises QM001 if the limit has no room.
--
-- Locks: the platform's quota on objects, then the stripe of platform_totals.
CREATE OR REPLACE FUNCTION count_users()
RETURNS trigger
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  units bigint;
  bound record;
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT count(*) INTO units FROM after_it;
  ELSE
    SELECT -count(*) INTO units FROM before_it;
  END IF;
  IF units = 0 THEN
    RETURN NULL;
  END IF;
  UPDATE platform_quotas p SET counts[1] = p.counts[1] + units WHERE p.meter = 'objects'
  RETURNING p.limits[1] AS amount, p.counts[1] - units AS used INTO bound;
  IF units > 0 AND bound.used + units > bound.amount THEN
    bound.used := bound.used - (expired_entries(clock_timestamp()))[1];
    IF bound.used + units > bound.amount THEN
      RAISE EXCEPTION 'no room for more objects' USING
        ERRCODE = 'QM001', CONSTRAINT = 'platform_objects', DETAIL = bound.amount || ':' || bound.used;
    END IF;
  END IF;
  PERFORM add_objects('users', units);
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER users_counted_up AFTER INSERT ON users REFERENCING NEW TABLE AS after_it
FOR EACH STATEMENT EXECUTE FUNCTION count_users();

CREATE OR REPLACE TRIGGER users_counted_down AFTER DELETE ON users REFERENCING OLD TABLE AS before_it
FOR EACH STATEMENT EXECUTE FUNCTION count_users();
