-- Returns owners in the given order, with their places. Only if the platform has quotas on objects, it first locks the owners'
-- gauges: functions that charge them lock such quotas after the first owner, and two batches could then wait for each other.
--
-- Locks: those of open_gauge, then the gauges by owner and meter.
CREATE OR REPLACE FUNCTION lock_gauges(owners uuid[], meters text[])
RETURNS TABLE (owner_id uuid, place bigint)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
BEGIN
  IF EXISTS (SELECT FROM platform_quotas p WHERE p.meter = 'objects' OR p.meter = ANY(meters)) THEN
    PERFORM open_gauge(m.owner_id, m.meter)
    FROM (SELECT o AS owner_id, m AS meter FROM unnest(owners) AS o, unnest(meters) AS m ORDER BY 1, 2) AS m
    WHERE NOT EXISTS (SELECT FROM gauges g WHERE g.owner_id = m.owner_id AND g.meter = m.meter);
    PERFORM FROM gauges g WHERE g.owner_id = ANY(owners) AND g.meter = ANY(meters) ORDER BY g.owner_id, g.meter FOR UPDATE;
  END IF;
  RETURN QUERY SELECT o.owner_id, o.place FROM unnest(owners) WITH ORDINALITY AS o (owner_id, place);
END
$$;
