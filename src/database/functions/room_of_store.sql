-- Returns what a store and all stores together have used, and their limits (see the type store_room).
CREATE OR REPLACE FUNCTION room_of_store(of_owner uuid)
RETURNS store_room
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  room store_room;
  of_plan text;
BEGIN
  SELECT g.used, g.amount, g.revision INTO room.entries, room.entry_limit, room.revision FROM gauges g
  WHERE g.owner_id = of_owner AND g.meter = 'store.entries';
  SELECT g.used, g.amount INTO room.bytes, room.byte_limit FROM gauges g
  WHERE g.owner_id = of_owner AND g.meter = 'store.bytes';
  room.entry_scope := CASE WHEN room.entry_limit IS NULL THEN 'p' ELSE 'u' END;
  room.byte_scope := CASE WHEN room.byte_limit IS NULL THEN 'p' ELSE 'u' END;
  SELECT u.plan INTO of_plan FROM users u WHERE u.id = of_owner;
  IF of_plan IS NOT NULL THEN
    room.entry_limit := coalesce(room.entry_limit, (
      SELECT p.limits[1] FROM plan_limits p WHERE p.plan = of_plan AND p.meter = 'store.entries'
    ));
    room.byte_limit := coalesce(room.byte_limit, (
      SELECT p.limits[1] FROM plan_limits p WHERE p.plan = of_plan AND p.meter = 'store.bytes'
    ));
  END IF;
  SELECT p.counts[1], p.limits[1] INTO room.all_entries, room.all_entry_limit FROM platform_quotas p
  WHERE p.meter = 'store.entries';
  SELECT p.counts[1], p.limits[1] INTO room.all_bytes, room.all_byte_limit FROM platform_quotas p WHERE p.meter = 'store.bytes';
  SELECT p.counts[1], p.limits[1] INTO room.objects, room.object_limit FROM platform_quotas p WHERE p.meter = 'objects';
  -- -1 is unlimited.
  room.entry_limit := nullif(room.entry_limit, -1);
  room.byte_limit := nullif(room.byte_limit, -1);
  room.all_entry_limit := nullif(room.all_entry_limit, -1);
  room.all_byte_limit := nullif(room.all_byte_limit, -1);
  room.object_limit := nullif(room.object_limit, -1);
  RETURN room;
END
$$;
