-- Subtracts entries that have expired at a moment from what a store and all stores together have used.
CREATE OR REPLACE FUNCTION room_without_expired(of_owner uuid, INOUT room store_room, at timestamptz)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  expired bigint[] := expired_entries_of(of_owner, at);
BEGIN
  room.entries := room.entries - expired[1];
  room.bytes := room.bytes - expired[2];
  IF room.all_entries IS NOT NULL OR room.all_bytes IS NOT NULL OR room.objects IS NOT NULL THEN
    expired := expired_entries(at);
    room.all_entries := room.all_entries - expired[1];
    room.all_bytes := room.all_bytes - expired[2];
    room.objects := room.objects - expired[1];
  END IF;
END
$$;
