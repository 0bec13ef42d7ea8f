-- Sets the rank of owners by calls to the units that they were granted of all APIs.
--
-- Locks: the owners' quotas of all APIs by owner, like spend_calls.
CREATE OR REPLACE FUNCTION rank_calls(owners uuid[])
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  -- Locks in the order of spend_calls. Reads the sums in the next statement.
  PERFORM FROM quotas q WHERE q.owner_id = ANY(owners) AND q.key_id = no_key() AND q.meter = 'api:*'
  ORDER BY q.owner_id FOR UPDATE;
  UPDATE quotas q SET rank = s.granted
  FROM (SELECT DISTINCT o AS owner_id FROM unnest(owners) AS o) w
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(k.counts[1]), 0)::bigint AS granted FROM quotas k
    WHERE k.owner_id = w.owner_id AND k.key_id <> no_key() AND k.meter LIKE 'api:%' AND k.meter <> 'api:*'
  ) s
  WHERE q.owner_id = w.owner_id AND q.key_id = no_key() AND q.meter = 'api:*' AND q.rank <> s.granted;
END
$$;
