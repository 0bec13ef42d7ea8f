-- Returns the sum of the credits of all users with finite credits at a moment.
CREATE OR REPLACE FUNCTION credits_granted(moment timestamptz)
RETURNS numeric
LANGUAGE sql STABLE
AS $$
SELECT coalesce((
  SELECT sum(CASE WHEN t.basis = 'own' THEN t.own + t.bonus WHEN p.limits[1] >= 0 THEN t.users * p.limits[1] + t.bonus END)
  FROM (
    SELECT t.basis, sum(t.users) AS users, sum(t.own) AS own, sum(t.bonus) AS bonus FROM credit_totals t GROUP BY t.basis
  ) t
  LEFT JOIN plan_limits p ON p.plan = substr(t.basis, 6) AND p.meter = 'tasks' AND t.basis <> 'own'
), 0) - coalesce((
  SELECT sum(g.amount)
  FROM credit_grants g
  JOIN credit_accounts a ON a.owner_id = g.owner_id
  LEFT JOIN plan_limits p ON p.plan = substr(a.basis, 6) AND p.meter = 'tasks' AND a.basis <> 'own'
  WHERE g.counted AND g.expires_at <= moment AND (a.basis = 'own' OR p.limits[1] >= 0)
), 0)
$$;
