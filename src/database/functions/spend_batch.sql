-- Judges and charges calls with keys of several owners, in one transaction: as spend_calls does for each, in order.
--
-- Parameters: the owners, in ascending order; the place of the last run of each; by run, ordered by owner: as in spend_calls.
--
-- Locks, in this order: the owners' flows api:*, by owner; then those of lock_shared_calls; then rows of usage_hours.
CREATE OR REPLACE FUNCTION spend_batch(
  owners uuid[], ends integer[], hashes bytea[], slugs text[], costs bigint[], run_counts integer[], dry boolean[]
)
RETURNS TABLE (
  place integer, verdict text, key_id uuid, granted integer, limits text, answer text, upstream text, moment float8
)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  first integer := 1;
  last integer;
BEGIN
  -- spend_calls locks one owner after the other. With quotas of the platform between them, two batches could wait for each other.
  IF EXISTS (SELECT FROM platform_quotas p WHERE p.meter LIKE 'api:%') THEN
    PERFORM FROM flows f WHERE f.owner_id = ANY(owners) AND f.key_id = no_key() AND f.meter = 'api:*'
    ORDER BY f.owner_id FOR UPDATE;
    PERFORM lock_shared_calls(slugs);
  END IF;
  FOR n IN 1 .. cardinality(owners) LOOP
    last := ends[n];
    RETURN QUERY SELECT s.place + first - 1, s.verdict, s.key_id, s.granted, s.limits, s.answer, s.upstream, s.moment
    FROM spend_calls(
      owners[n], hashes[first:last], slugs[first:last], costs[first:last], run_counts[first:last], dry[first:last]
    ) AS s;
    first := last + 1;
  END LOOP;
END
$$;
