-- Judges entries by the quotas of their owner and of the platform, in order.
--
-- Parameters: by entry: its request (entries of one request are adjacent); what choose_writes returns; the version that exists (0:
-- none, or it has expired); the bytes of its row, also if it has expired (0: no row); the bytes to store. By request: whether it is
-- atomic; then its entries are judged together. What is used, and the limits.
--
-- Returns by entry: q if a quota denies it; a(borted) if it is skipped and a quota denies its atomic request; otherwise the given
-- choice. Also returns the requests with a denied entry and, for the first denial of each, the judged limits (in the format of
-- judge_limits) and the requested amounts. `room` includes the granted entries.
CREATE OR REPLACE FUNCTION judge_writes(
  requests integer[], INOUT choices text[], known bigint[], row_bytes integer[], new_bytes integer[], atomic boolean[],
  INOUT room store_room, OUT denials integer[], OUT entry_limits text[], OUT byte_limits text[], OUT entry_costs bigint[],
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
  denials := '{}';
  entry_limits := '{}';
  byte_limits := '{}';
  entry_costs := '{}';
  byte_costs := '{}';
  FOR i IN 1 .. cardinality(requests) LOOP
    CONTINUE WHEN choices[i] <> 'w';
    -- An atomic request is judged once, at its first entry to write.
    IF NOT atomic[requests[i]] OR current_request IS DISTINCT FROM requests[i] THEN
      current_request := requests[i];
      cost := 0;
      size := 0;
      FOR n IN i .. cardinality(requests) LOOP
        EXIT WHEN requests[n] <> current_request;
        IF choices[n] = 'w' THEN
          -- An expired entry (known = 0) does not count as used, although its row still exists.
          cost := cost + CASE WHEN known[n] = 0 THEN 1 ELSE 0 END;
          size := size + new_bytes[n] - CASE WHEN known[n] = 0 THEN 0 ELSE row_bytes[n] END;
        END IF;
        EXIT WHEN NOT atomic[current_request];
      END LOOP;
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
      choices[i] := 'q';
    END IF;
  END LOOP;
  IF cardinality(denials) > 0 THEN
    FOR i IN 1 .. cardinality(requests) LOOP
      IF choices[i] = 's' AND atomic[requests[i]] AND requests[i] = ANY(denials) THEN
        choices[i] := 'a';
      END IF;
    END LOOP;
  END IF;
END
$$;
