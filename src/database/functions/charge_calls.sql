-- Charges the units of granted calls, and the number of denied calls, to flows. For spend_calls.
--
-- Parameters: one element for each flow, each flow once; those of the platform have no owner. The moment of the calls.
--
-- Locks: the caller holds those of the owners and of the platform. Takes the owners' other flows (of a new one: the user, FOR KEY
-- SHARE).
CREATE OR REPLACE FUNCTION charge_calls(
  owners uuid[], keys uuid[], meters text[], units bigint[], denials bigint[], now timestamptz
)
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  starts timestamptz[] := window_starts(now);
BEGIN
  INSERT INTO flows AS q (owner_id, key_id, meter, counts, at, denied, hour_denied)
  SELECT c.owner_id, c.key_id, c.meter, array_fill(c.units, '{5}'), now, c.denials, c.denials
  FROM unnest(owners, keys, meters, units, denials) AS c (owner_id, key_id, meter, units, denials)
  WHERE c.owner_id IS NOT NULL
  ON CONFLICT ON CONSTRAINT flows_pkey DO UPDATE SET
    counts = counts_after(q.counts, q.at, excluded.counts[1], starts),
    at = greatest(q.at, excluded.at),
    denied = q.denied + excluded.denied,
    hour_denied = CASE WHEN q.at >= starts[3] THEN q.hour_denied ELSE 0 END + excluded.denied;
  IF array_position(owners, NULL) IS NOT NULL THEN
    UPDATE platform_quotas p SET counts = counts_after(p.counts, p.at, c.units, starts), at = greatest(p.at, now)
    FROM unnest(owners, meters, units) AS c (owner_id, meter, units)
    WHERE c.owner_id IS NULL AND p.meter = c.meter;
  END IF;
END
$$;
