-- Locks the gauges of a store, and then the quotas of the platform, in the order that every change of entries uses. Returns whether
-- the owner has these gauges.
--
-- Parameters: the owner; whether to create gauges that are missing.
--
-- Locks: the owner's gauges by meter (if some are missing, first those of open_gauge); then the platform's quotas by meter, if there
-- are some.
CREATE OR REPLACE FUNCTION lock_store(of_owner uuid, creates boolean)
RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
  locked integer;
BEGIN
  PERFORM FROM gauges g WHERE g.owner_id = of_owner AND g.meter IN ('store.bytes', 'store.entries') ORDER BY g.meter FOR UPDATE;
  GET DIAGNOSTICS locked = ROW_COUNT;
  IF locked < 2 THEN
    IF NOT creates OR NOT open_gauge(of_owner, 'store.bytes') OR NOT open_gauge(of_owner, 'store.entries') THEN
      RETURN false;
    END IF;
    PERFORM FROM gauges g WHERE g.owner_id = of_owner AND g.meter IN ('store.bytes', 'store.entries') ORDER BY g.meter FOR UPDATE;
  END IF;
  IF EXISTS (SELECT FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries')) THEN
    PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries') ORDER BY p.meter FOR UPDATE;
  END IF;
  RETURN true;
END
$$;
