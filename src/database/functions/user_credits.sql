-- Returns the users with finite credits, and how many each has at a moment: its own limit on tasks, or else its plan's, plus its
-- unexpired grants.
CREATE OR REPLACE FUNCTION user_credits(moment timestamptz)
RETURNS TABLE (owner_id uuid, plan text, amount numeric)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT u.id, u.plan, coalesce(t.amount, p.limits[1]) + coalesce(g.amount, 0)
FROM users u
LEFT JOIN gauges t ON t.owner_id = u.id AND t.meter = 'tasks'
LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = 'tasks'
LEFT JOIN (
  SELECT g.owner_id, sum(g.amount) AS amount FROM credit_grants g
  WHERE g.expires_at IS NULL OR g.expires_at > moment
  GROUP BY g.owner_id
) g ON g.owner_id = u.id
WHERE coalesce(t.amount, p.limits[1]) >= 0
$$;
