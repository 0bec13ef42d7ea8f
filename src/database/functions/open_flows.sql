-- Starts the counts of flows that had no limit so far, of an owner or of a key for all APIs, with the sums of the flows below them.
--
-- Parameters: flows, of which those that count already are left alone; the moment of the calls.
CREATE OR REPLACE FUNCTION open_flows(owners uuid[], keys uuid[], meters text[], now timestamptz)
RETURNS void
LANGUAGE sql
AS $$
INSERT INTO flows AS q (owner_id, key_id, meter, counts, at)
SELECT c.owner_id, c.key_id, c.meter, calls_used(c.owner_id, c.key_id, c.meter, c.at), c.at
FROM (
  -- Uses the latest `at` of the summed flows: after the clock is set back, their later windows stay current.
  SELECT c.*, greatest(now, (
    SELECT max(q.at) FROM flows q
    WHERE q.owner_id = c.owner_id AND q.key_id <> no_key() AND (c.key_id = no_key() OR q.key_id = c.key_id)
      AND q.meter <> 'api:*' AND (c.meter = 'api:*' OR q.meter = c.meter)
  )) AS at
  FROM unnest(owners, keys, meters) AS c (owner_id, key_id, meter)
  WHERE c.owner_id IS NOT NULL AND (c.key_id = no_key() OR c.meter = 'api:*')
) c
ON CONFLICT ON CONSTRAINT flows_pkey DO UPDATE SET counts = excluded.counts, at = excluded.at
WHERE q.at = '-infinity'
$$;
