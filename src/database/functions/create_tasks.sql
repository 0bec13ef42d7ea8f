-- Creates tasks of one owner, and charges them to its gauge: as many as have room, in order.
--
-- Parameters: the owner; by object, in order: its id, its title, and whether it is completed.
-- Returns how many were created (NULL: the owner does not exist), and the limits that were judged (see charge_gauge); and their
-- time of creation.
--
-- Locks: those of charge_gauge.
CREATE OR REPLACE FUNCTION create_tasks(
  of_owner uuid, ids uuid[], titles text[], states boolean[], OUT granted integer, OUT limits text, OUT created_at timestamptz
)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  charged record;
BEGIN
  charged := charge_gauge(of_owner, 'tasks', cardinality(ids));
  granted := charged.granted;
  limits := charged.limits;
  created_at := now()::timestamptz(3);
  FOR n IN 1 .. coalesce(granted, 0) LOOP
    INSERT INTO tasks (owner_id, id, title, completed, created_at) VALUES (of_owner, ids[n], titles[n], states[n], create_tasks.created_at);
  END LOOP;
END
$$;
