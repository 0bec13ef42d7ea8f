-- Adds entries and bytes, negative ones too, to what a store and all stores together have used. The caller has locked both (see
-- lock_room).
--
-- Parameters: the owner; the entries; the bytes; the new revision of the store (NULL: it stays); whether the platform has such a quota.
CREATE OR REPLACE FUNCTION charge_entries(of_owner uuid, entries bigint, bytes bigint, new_revision bigint, has_shared boolean)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  UPDATE gauges g SET used = g.used + entries, revision = coalesce(new_revision, g.revision)
  WHERE g.owner_id = of_owner AND g.meter = 'store.entries';
  IF bytes <> 0 THEN
    UPDATE gauges g SET used = g.used + bytes WHERE g.owner_id = of_owner AND g.meter = 'store.bytes';
  END IF;
  IF has_shared THEN
    UPDATE platform_quotas p SET counts[1] = p.counts[1] + entries WHERE p.meter IN ('objects', 'store.entries');
    UPDATE platform_quotas p SET counts[1] = p.counts[1] + bytes WHERE p.meter = 'store.bytes';
  END IF;
END
$$;
