-- Makes quotas count that have not counted yet, because no limit applied to them: of an owner, or of a key for all APIs. They
-- begin with what the keys' quotas for each API have counted.
--
-- Parameters: quotas; those that count already are left alone. The moment of the calls.
CREATE OR REPLACE FUNCTION open_quotas(owners uuid[], keys uuid[], meters text[], now timestamptz)
RETURNS void
LANGUAGE sql
AS $$
INSERT INTO quotas AS q (owner_id, key_id, meter, counts, at)
SELECT c.owner_id, c.key_id, c.meter, calls_used(c.owner_id, c.key_id, c.meter, c.at), c.at
FROM (
  -- At the latest moment of what is summed: if the clock has gone back since, the later window stays.
  SELECT c.*, greatest(now, (
    SELECT max(q.at) FROM quotas q
    WHERE q.owner_id = c.owner_id AND q.key_id <> no_key() AND (c.key_id = no_key() OR q.key_id = c.key_id)
      AND q.meter LIKE 'api:%' AND q.meter <> 'api:*' AND (c.meter = 'api:*' OR q.meter = c.meter)
  )) AS at
  FROM unnest(owners, keys, meters) AS c (owner_id, key_id, meter)
  WHERE c.owner_id IS NOT NULL AND (c.key_id = no_key() OR c.meter = 'api:*')
) c
ON CONFLICT ON CONSTRAINT quotas_pkey DO UPDATE SET counts = excluded.counts, at = excluded.at
WHERE q.at = '-infinity'
$$;
