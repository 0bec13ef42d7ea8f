-- Creates a gauge of an owner, unless it exists. Returns false if there is no such user.
--
-- Locks: the user, by the foreign key: waits for a concurrent deletion of the user.
CREATE OR REPLACE FUNCTION open_gauge(of_owner uuid, of_meter text)
RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
  INSERT INTO gauges (owner_id, meter) VALUES (of_owner, of_meter) ON CONFLICT ON CONSTRAINT gauges_pkey DO NOTHING;
  RETURN true;
EXCEPTION WHEN foreign_key_violation THEN
  RETURN false;
END
$$;
