-- Returns the sum of a user's grants that have not expired at a moment.
CREATE OR REPLACE FUNCTION bonus_credits(of_owner uuid, moment timestamptz)
RETURNS numeric
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  RETURN (
    SELECT coalesce(sum(g.amount), 0) FROM credit_grants g
    WHERE g.owner_id = of_owner AND (g.expires_at IS NULL OR g.expires_at > moment)
  );
END
$$;
