-- Counts new users (or deleted ones, if negative) against the limit on all objects of the platform, if there is one.
-- Raises QM001 if the limit has no room.
--
-- Locks: the platform's quota on objects.
CREATE OR REPLACE FUNCTION charge_users(units bigint)
RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  bound record;
BEGIN
  UPDATE platform_quotas p SET counts[1] = p.counts[1] + units WHERE p.meter = 'objects'
  RETURNING p.limits[1] AS amount, p.counts[1] - units AS used INTO bound;
  IF units > 0 AND bound.used + units > bound.amount THEN
    bound.used := bound.used - (expired_entries(clock_timestamp()))[1];
    IF bound.used + units > bound.amount THEN
      RAISE EXCEPTION 'no room for more objects' USING
        ERRCODE = 'QM001', CONSTRAINT = 'platform_objects', DETAIL = bound.amount || ':' || bound.used;
    END IF;
  END IF;
END
$$;
