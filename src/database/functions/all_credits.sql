-- Returns the sum of the credits of all users with finite credits at a moment: of each its own limit on tasks, or else its plan's,
-- plus its unexpired grants. Reads no row of most users.
CREATE OR REPLACE FUNCTION all_credits(moment timestamptz)
RETURNS numeric
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
  RETURN
    -- Limits of users' own.
    (SELECT coalesce(sum(amount), 0) FROM gauges WHERE meter = 'tasks' AND amount >= 0)
    -- Limits of plans, for all their users, and then without those who have a limit of their own.
    + (
      SELECT coalesce(sum(p.limits[1] * u.users), 0) FROM plan_limits p
      JOIN (SELECT plan, count(*) AS users FROM users GROUP BY plan) u ON u.plan = p.plan
      WHERE p.meter = 'tasks' AND p.limits[1] >= 0
    )
    - (
      SELECT coalesce(sum(p.limits[1]), 0) FROM gauges t
      JOIN users u ON u.id = t.owner_id
      JOIN plan_limits p ON p.plan = u.plan AND p.meter = 'tasks' AND p.limits[1] >= 0
      WHERE t.meter = 'tasks' AND t.amount IS NOT NULL
    )
    + (
      SELECT coalesce(sum(g.amount), 0) FROM credit_grants g
      JOIN users u ON u.id = g.owner_id
      LEFT JOIN gauges t ON t.owner_id = g.owner_id AND t.meter = 'tasks'
      LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = 'tasks'
      WHERE (g.expires_at IS NULL OR g.expires_at > moment) AND coalesce(t.amount, p.limits[1]) >= 0
    );
END
$$;
