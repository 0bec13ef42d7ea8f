-- Returns the credits that grants add to a user's own credits at a moment. NULL if the user has no account of credits.
CREATE OR REPLACE FUNCTION bonus_credits(of_owner uuid, moment timestamptz)
RETURNS numeric
LANGUAGE sql STABLE
AS $$
SELECT a.bonus - CASE WHEN a.bonus = 0 THEN 0 ELSE coalesce((
    SELECT sum(g.amount) FROM credit_grants g WHERE g.owner_id = of_owner AND g.counted AND g.expires_at <= moment
  ), 0) END
FROM credit_accounts a WHERE a.owner_id = of_owner
$$;
