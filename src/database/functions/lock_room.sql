-- Locks a store, and returns what it and all stores together have used, and their limits; NULL if the owner has no gauges. Limits of
-- the owner's plan are left out.
--
-- Parameters: the owner; whether to create gauges that are missing.
--
-- Locks, in the order that every change of entries uses: the owner's gauges by meter (if some are missing, first those of
-- open_gauge); then the platform's quotas by meter, if there are some.
CREATE OR REPLACE FUNCTION lock_room(of_owner uuid, creates boolean)
RETURNS store_room
LANGUAGE plpgsql
AS $$
DECLARE
  room store_room;
  gauge gauges;
  shared platform_quotas;
BEGIN
  FOR gauge IN
    SELECT g.* FROM gauges g WHERE g.owner_id = of_owner AND g.meter IN ('store.bytes', 'store.entries') ORDER BY g.meter FOR UPDATE
  LOOP
    IF gauge.meter = 'store.bytes' THEN
      room.bytes := gauge.used;
      room.byte_limit := gauge.amount;
    ELSE
      room.entries := gauge.used;
      room.entry_limit := gauge.amount;
      room.revision := gauge.revision;
    END IF;
  END LOOP;
  IF room.bytes IS NULL OR room.entries IS NULL THEN
    IF creates AND open_gauge(of_owner, 'store.bytes') AND open_gauge(of_owner, 'store.entries') THEN
      RETURN lock_room(of_owner, false);
    END IF;
    RETURN NULL;
  END IF;
  IF EXISTS (SELECT FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries')) THEN
    FOR shared IN
      SELECT p.* FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries') ORDER BY p.meter FOR UPDATE
    LOOP
      CASE shared.meter
        WHEN 'objects' THEN
          room.objects := shared.counts[1];
          room.object_limit := nullif(shared.limits[1], -1);
        WHEN 'store.bytes' THEN
          room.all_bytes := shared.counts[1];
          room.all_byte_limit := nullif(shared.limits[1], -1);
        ELSE
          room.all_entries := shared.counts[1];
          room.all_entry_limit := nullif(shared.limits[1], -1);
      END CASE;
    END LOOP;
  END IF;
  RETURN room;
END
$$;
