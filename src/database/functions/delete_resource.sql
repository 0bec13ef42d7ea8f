-- Deletes a resource, and gives its unit back. Of two concurrent deletions, only one does. Returns whether it existed.
--
-- Locks, in this order: the owner's gauge, as creations and the deletion of a user do; the resource; those of release_gauge.
CREATE OR REPLACE FUNCTION delete_resource(of_owner uuid, of_id uuid)
RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  PERFORM FROM gauges g WHERE g.owner_id = of_owner AND g.meter = 'resources' FOR UPDATE;
  DELETE FROM resources t WHERE t.owner_id = of_owner AND t.id = of_id;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM release_gauge(of_owner, 'resources', 1);
  RETURN true;
END
$$;
