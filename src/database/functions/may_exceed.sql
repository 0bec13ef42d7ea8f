-- Whether a store, or all stores together, may exceed a limit if so many entries and bytes are added.
CREATE OR REPLACE FUNCTION may_exceed(room store_room, entries bigint, bytes bigint)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
SELECT coalesce(room.entries + entries > room.entry_limit, false)
  OR coalesce(room.bytes + bytes > room.byte_limit, false)
  OR coalesce(room.all_entries + entries > room.all_entry_limit, false)
  OR coalesce(room.all_bytes + bytes > room.all_byte_limit, false)
  OR coalesce(room.objects + entries > room.object_limit, false)
$$;
