-- Returns the units of calls that an owner, or one of its keys, has used: one element for each window that contains a moment.
--
-- Each key and API that was ever called has a flow that counts. A flow above them (of an owner, or of a key for all APIs)
-- counts only since a limit first applied to it, which `at` tells; until then its usage is the sum of theirs. Counts of
-- windows that have ended do not count. After the clock is set back, counts of the later window still do.
CREATE OR REPLACE FUNCTION calls_used(of_owner uuid, of_key uuid, of_meter text, moment timestamptz)
RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  counts_itself boolean := EXISTS (
    SELECT FROM flows q
    WHERE q.owner_id = of_owner AND q.key_id = of_key AND q.meter = of_meter AND q.at > '-infinity'
  );
BEGIN
  RETURN (
    SELECT ARRAY[
      coalesce(sum(q.counts[1]), 0)::bigint,
      coalesce(sum(q.counts[2]) FILTER (WHERE q.at >= window_start('minute', moment)), 0)::bigint,
      coalesce(sum(q.counts[3]) FILTER (WHERE q.at >= window_start('hour', moment)), 0)::bigint,
      coalesce(sum(q.counts[4]) FILTER (WHERE q.at >= window_start('day', moment)), 0)::bigint,
      coalesce(sum(q.counts[5]) FILTER (WHERE q.at >= window_start('month', moment)), 0)::bigint
    ]
    FROM flows q
    WHERE q.owner_id = of_owner AND CASE
      WHEN counts_itself THEN q.key_id = of_key AND q.meter = of_meter
      ELSE q.key_id <> no_key() AND (of_key = no_key() OR q.key_id = of_key)
        AND q.meter <> 'api:*' AND (of_meter = 'api:*' OR q.meter = of_meter)
      END
  );
END
$$;
