-- Completes what lock_room returns with the limits of the owner's plan, which apply where the owner has none; -1 becomes NULL.
CREATE OR REPLACE FUNCTION room_with_plan(of_owner uuid, INOUT room store_room)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  planned record;
BEGIN
  room.entry_scope := CASE WHEN room.entry_limit IS NULL THEN 'p' ELSE 'u' END;
  room.byte_scope := CASE WHEN room.byte_limit IS NULL THEN 'p' ELSE 'u' END;
  IF room.entry_limit IS NULL OR room.byte_limit IS NULL THEN
    FOR planned IN
      SELECT p.meter, p.limits[1] AS amount FROM users u JOIN plan_limits p ON p.plan = u.plan
      WHERE u.id = of_owner AND p.meter IN ('store.bytes', 'store.entries')
    LOOP
      IF planned.meter = 'store.bytes' THEN
        room.byte_limit := coalesce(room.byte_limit, planned.amount);
      ELSE
        room.entry_limit := coalesce(room.entry_limit, planned.amount);
      END IF;
    END LOOP;
  END IF;
  room.entry_limit := nullif(room.entry_limit, -1);
  room.byte_limit := nullif(room.byte_limit, -1);
END
$$;
