-- Updates the accounts of some owners from their limits, plans and grants, and the sum of all credits with them.
--
-- Locks, in this order: the accounts by owner, the advisory lock on the connection's stripe, the stripes of credit_totals.
CREATE OR REPLACE FUNCTION recount_credits(owners uuid[])
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  INSERT INTO credit_accounts (owner_id)
  SELECT u.id FROM users u WHERE u.id = ANY(owners) ORDER BY u.id
  ON CONFLICT ON CONSTRAINT credit_accounts_pkey DO NOTHING;
  -- Whoever changes one of the three comes by here after it did: the last one sees what all did.
  PERFORM FROM credit_accounts a WHERE a.owner_id = ANY(owners) ORDER BY a.owner_id FOR UPDATE;
  -- A transaction may come by twice, and want the rows of two sums in either order.
  PERFORM pg_advisory_xact_lock(hashtext('credits.totals'), pg_backend_pid() % 64);
  WITH said AS MATERIALIZED (
    SELECT s.*, a.basis AS old_basis, a.own AS old_own, a.bonus AS old_bonus
    FROM credit_accounts a
    JOIN LATERAL (
      SELECT u.id AS owner_id,
      CASE WHEN q.limits[1] >= 0 THEN 'own' WHEN q.limits[1] IS NULL THEN 'plan:' || u.plan END AS basis,
      greatest(coalesce(q.limits[1], 0), 0) AS own,
      coalesce((SELECT sum(g.amount) FROM credit_grants g WHERE g.owner_id = u.id AND g.counted), 0) AS bonus
      FROM users u LEFT JOIN quotas q ON q.owner_id = u.id AND q.key_id = no_key() AND q.meter = 'tasks'
      WHERE u.id = a.owner_id
    ) s ON true
    WHERE a.owner_id = ANY(owners)
      AND (a.basis, a.own, a.bonus) IS DISTINCT FROM (s.basis, s.own, s.bonus)
  ), changed AS (
    UPDATE credit_accounts a SET basis = s.basis, own = s.own, bonus = s.bonus
    FROM said s WHERE a.owner_id = s.owner_id
  )
  INSERT INTO credit_totals AS t (basis, stripe, users, own, bonus)
  SELECT m.basis, pg_backend_pid() % 64, sum(m.users), sum(m.own), sum(m.bonus)
  FROM said s CROSS JOIN LATERAL (
    VALUES (s.old_basis, -1, -s.old_own, -s.old_bonus), (s.basis, 1, s.own, s.bonus)
  ) AS m (basis, users, own, bonus)
  WHERE m.basis IS NOT NULL
  GROUP BY m.basis ORDER BY m.basis
  ON CONFLICT ON CONSTRAINT credit_totals_pkey DO UPDATE SET users = t.users + excluded.users, own = t.own + excluded.own, bonus = t.bonus + excluded.bonus;
END
$$;
