-- Returns the quotas of an owner's store, always one row: how often its entries were written (NULL if the owner has no store),
-- and of entries and bytes what is used, the limit (NULL: unlimited), and its scope: u(ser) or p(lan).
CREATE OR REPLACE FUNCTION store_quotas(of_owner uuid)
RETURNS TABLE (
  revision bigint, entries bigint, entry_limit bigint, entry_scope text, bytes bigint, byte_limit bigint, byte_scope text
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT e.revision,
  e.used, nullif(coalesce(e.amount, pe.limits[1]), -1), CASE WHEN e.amount IS NULL THEN 'p' ELSE 'u' END,
  b.used, nullif(coalesce(b.amount, pb.limits[1]), -1), CASE WHEN b.amount IS NULL THEN 'p' ELSE 'u' END
-- Outer joins, so that the rows are looked up and no table is scanned.
FROM (SELECT of_owner AS id) o
LEFT JOIN users u ON u.id = o.id
LEFT JOIN gauges e ON e.owner_id = o.id AND e.meter = 'store.entries'
LEFT JOIN gauges b ON b.owner_id = o.id AND b.meter = 'store.bytes'
LEFT JOIN plan_limits pe ON pe.plan = u.plan AND pe.meter = 'store.entries'
LEFT JOIN plan_limits pb ON pb.plan = u.plan AND pb.meter = 'store.bytes'
$$;
