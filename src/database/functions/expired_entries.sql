-- Returns {entries, bytes} that have expired but are not swept yet, of all owners. They are still part of the counts.
CREATE OR REPLACE FUNCTION expired_entries(moment timestamptz)
RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  RETURN (
    SELECT ARRAY[count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint]
    FROM store_entries WHERE expires_at <= moment
  );
END
$$;
