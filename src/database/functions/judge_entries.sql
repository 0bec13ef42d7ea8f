-- Judges entries by the quotas of their owner and of the platform, in order.
--
-- Parameters: by entry: its place, its request, and what it adds to the used entries and bytes; an entry of an atomic request says
-- what all entries of the request add. Whether each request is atomic. What is used, and the limits.
--
-- Returns the places of denied entries; the requests with one, and for the first denial of each the limits that were judged,
-- as spend_calls does, and what was asked of them; and what is used then.
CREATE OR REPLACE FUNCTION judge_entries(
  places integer[], requests integer[], costs bigint[], sizes bigint[], atomic boolean[], INOUT room store_room,
  OUT refused integer[], OUT denials integer[], OUT entry_limits text[], OUT byte_limits text[], OUT entry_costs bigint[],
  OUT byte_costs bigint[]
)
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  max CONSTANT bigint := 9007199254740991;
  current_request integer;
  cost bigint;
  size bigint;
  fits boolean;
BEGIN
  refused := '{}';
  denials := '{}';
  entry_limits := '{}';
  byte_limits := '{}';
  entry_costs := '{}';
  byte_costs := '{}';
  FOR i IN 1 .. coalesce(cardinality(places), 0) LOOP
    -- The first entry of an atomic request decides for all.
    IF NOT atomic[requests[i]] OR current_request IS DISTINCT FROM requests[i] THEN
      current_request := requests[i];
      cost := costs[i];
      size := sizes[i];
      -- An entry that takes no more than there was is granted, even above the limit.
      fits := (cost <= 0 OR (room.entries + cost <= coalesce(room.entry_limit, max)
          AND coalesce(room.all_entries, 0) + cost <= coalesce(room.all_entry_limit, max)
          AND coalesce(room.objects, 0) + cost <= coalesce(room.object_limit, max)))
        AND (size <= 0 OR (room.bytes + size <= coalesce(room.byte_limit, max)
          AND coalesce(room.all_bytes, 0) + size <= coalesce(room.all_byte_limit, max)));
      IF fits THEN
        room.entries := room.entries + cost;
        room.bytes := room.bytes + size;
        room.all_entries := room.all_entries + cost;
        room.objects := room.objects + cost;
        room.all_bytes := room.all_bytes + size;
      ELSIF array_position(denials, requests[i]) IS NULL THEN
        denials := denials || requests[i];
        entry_limits := entry_limits || concat_ws(';',
          room.entry_scope || 'ls' || room.entry_limit || ':' || room.entries,
          'gls' || room.all_entry_limit || ':' || room.all_entries,
          'glo' || room.object_limit || ':' || room.objects);
        byte_limits := byte_limits || concat_ws(';',
          room.byte_scope || 'ls' || room.byte_limit || ':' || room.bytes,
          'gls' || room.all_byte_limit || ':' || room.all_bytes);
        entry_costs := entry_costs || cost;
        byte_costs := byte_costs || size;
      END IF;
    END IF;
    IF NOT fits THEN
      refused := refused || places[i];
    END IF;
  END LOOP;
END
$$;
