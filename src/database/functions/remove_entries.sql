-- Removes entries of a store, and gives their quota back. The caller has locked the store (see lock_room). Returns their number.
--
-- Parameters: the owner; the keys; if not NULL, only entries that have expired at this moment.
--
-- Locks: the entries.
CREATE OR REPLACE FUNCTION remove_entries(of_owner uuid, keys text[], expired_at timestamptz)
RETURNS integer
LANGUAGE plpgsql
AS $$
DECLARE
  gone record;
  has_shared boolean;
BEGIN
  WITH gone AS (
    DELETE FROM store_entries s
    WHERE s.owner_id = of_owner AND s.key = ANY(keys) AND (expired_at IS NULL OR s.expires_at <= expired_at)
    RETURNING octet_length(s.key) + octet_length(s.value) AS size
  )
  SELECT count(*) AS entries, coalesce(sum(size), 0) AS bytes INTO gone FROM gone;
  IF gone.entries = 0 THEN
    RETURN 0;
  END IF;
  has_shared := EXISTS (SELECT FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries'));
  PERFORM charge_entries(of_owner, -gone.entries, -gone.bytes, NULL, has_shared);
  RETURN gone.entries;
END
$$;
