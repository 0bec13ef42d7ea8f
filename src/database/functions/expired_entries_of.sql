-- Returns {entries, bytes} of an owner that have expired but are not swept yet. They are still part of the counts.
CREATE OR REPLACE FUNCTION expired_entries_of(of_owner uuid, moment timestamptz)
RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  RETURN (
    SELECT ARRAY[count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint]
    FROM store_entries WHERE owner_id = of_owner AND expires_at <= moment
  );
END
$$;
