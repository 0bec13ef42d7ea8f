-- Creates resources of one owner, and charges them to its gauge: as many as have room, in order.
--
-- Parameters: the owner; by object, in order: its id and its value.
-- Returns how many were created (NULL: the owner does not exist), and the limits that were judged (see charge_gauge); and their
-- time of creation.
--
-- Locks: those of charge_gauge.
CREATE OR REPLACE FUNCTION create_resources(
  of_owner uuid, ids uuid[], texts text[], OUT granted integer, OUT limits text, OUT created_at timestamptz
)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  charged record;
BEGIN
  charged := charge_gauge(of_owner, 'resources', cardinality(ids));
  granted := charged.granted;
  limits := charged.limits;
  created_at := now()::timestamptz(3);
  FOR n IN 1 .. coalesce(granted, 0) LOOP
    INSERT INTO resources (owner_id, id, value, created_at) VALUES (of_owner, ids[n], texts[n], create_resources.created_at);
  END LOOP;
END
$$;
