-- Deletes expired entries of one owner, and gives their quota back. Returns their number.
--
-- Parameters: the owner, and the keys of entries that have expired. An entry that was written meanwhile stays.
--
-- Locks: as delete_entries.
CREATE OR REPLACE FUNCTION sweep_entries(of_owner uuid, keys text[])
RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  PERFORM lock_room(of_owner, false);
  RETURN remove_entries(of_owner, keys, clock_timestamp());
END
$$;
