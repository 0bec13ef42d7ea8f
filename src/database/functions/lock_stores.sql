-- Locks the gauges of stores, and then the quotas of the platform, in the order that every change of entries uses.
--
-- Parameters: the owners; whether to create the gauges of owners without an entry so far.
--
-- Locks: the owners' gauges by owner and meter. If some are missing: their users (FOR KEY SHARE: waits for a concurrent deletion
-- of the user), the new gauges, and all of the owners' gauges again. Then the platform's quotas by meter.
CREATE OR REPLACE FUNCTION lock_stores(owners uuid[], creates boolean)
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  locked integer;
BEGIN
  FOR attempt IN 1 .. 2 LOOP
    PERFORM FROM gauges g WHERE g.owner_id = ANY(owners) AND g.meter IN ('store.bytes', 'store.entries')
    ORDER BY g.owner_id, g.meter FOR UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    EXIT WHEN NOT creates OR attempt = 2 OR locked = 2 * cardinality(owners)
      OR locked = 2 * (SELECT count(DISTINCT o) FROM unnest(owners) AS o);
    INSERT INTO gauges (owner_id, meter)
    SELECT u.id, m.meter FROM (SELECT u.id FROM users u WHERE u.id = ANY(owners) ORDER BY u.id FOR KEY SHARE) u
    CROSS JOIN (VALUES ('store.bytes'), ('store.entries')) AS m (meter)
    ORDER BY u.id, m.meter
    ON CONFLICT ON CONSTRAINT gauges_pkey DO NOTHING;
  END LOOP;
  PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries') ORDER BY p.meter FOR UPDATE;
END
$$;
