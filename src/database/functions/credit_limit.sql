-- Returns a user's own limit on credits, which is that of the gauge tasks; NULL if it has none or is unlimited. A function, because
-- Citus rejects a sub-select over the rows of owners in a query of users.
CREATE OR REPLACE FUNCTION credit_limit(of_owner uuid)
RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
  RETURN (SELECT nullif(g.amount, -1) FROM gauges g WHERE g.owner_id = of_owner AND g.meter = 'tasks');
END
$$;
