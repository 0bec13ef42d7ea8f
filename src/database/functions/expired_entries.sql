-- Returns {entries, bytes} that have expired but are not swept yet, of all owners. They are still part of the counts.
CREATE OR REPLACE FUNCTION expired_entries(moment timestamptz)
RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
SELECT ARRAY[count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint]
FROM store_entries WHERE expires_at <= moment
$$;
