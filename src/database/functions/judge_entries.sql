-- Judges entries by the quotas of their owners and of the platform, in order.
--
-- Parameters: by entry, ordered by owner, then by place: its place, its request, its owner, and what it adds to the used
-- entries and bytes; an entry of an atomic request says what all entries of the request add. Whether each request is atomic.
-- What the platform has used, and its limits. The moment.
--
-- Returns the places of denied entries; the requests with one, and for the first denial of each the limits that were judged,
-- as spend_calls does, and what was asked of them; and what the platform has used then.
CREATE OR REPLACE FUNCTION judge_entries(
  places bigint[], requests integer[], owners uuid[], costs bigint[], sizes bigint[], atomic boolean[], now timestamptz,
  INOUT platform platform_store,
  OUT refused bigint[], OUT denials integer[], OUT entry_limits text[], OUT byte_limits text[], OUT entry_costs bigint[],
  OUT byte_costs bigint[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  max CONSTANT bigint := 9007199254740991;
  store record;
  current_owner uuid;
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
    IF current_owner IS DISTINCT FROM owners[i] THEN
      current_owner := owners[i];
      current_request := NULL;
      SELECT q.entries - x.expired[1] AS entries, q.entry_limit, q.entry_scope,
        q.bytes - x.expired[2] AS bytes, q.byte_limit, q.byte_scope
      INTO store FROM store_quotas(current_owner) q, expired_entries_of(current_owner, now) AS x (expired);
    END IF;
    -- The first entry of an atomic request decides for all.
    IF NOT atomic[requests[i]] OR current_request IS DISTINCT FROM requests[i] THEN
      current_request := requests[i];
      cost := costs[i];
      size := sizes[i];
      -- An entry that takes no more than there was is granted, even above the limit.
      fits := (cost <= 0 OR (store.entries + cost <= coalesce(store.entry_limit, max)
          AND coalesce(platform.entries, 0) + cost <= coalesce(platform.entry_limit, max)
          AND coalesce(platform.objects, 0) + cost <= coalesce(platform.object_limit, max)))
        AND (size <= 0 OR (store.bytes + size <= coalesce(store.byte_limit, max)
          AND coalesce(platform.bytes, 0) + size <= coalesce(platform.byte_limit, max)));
      IF fits THEN
        store.entries := store.entries + cost;
        store.bytes := store.bytes + size;
        platform.entries := platform.entries + cost;
        platform.objects := platform.objects + cost;
        platform.bytes := platform.bytes + size;
      ELSIF array_position(denials, requests[i]) IS NULL THEN
        denials := denials || requests[i];
        entry_limits := entry_limits || concat_ws(';',
          store.entry_scope || 'ls' || store.entry_limit || ':' || store.entries,
          'gls' || platform.entry_limit || ':' || platform.entries,
          'glo' || platform.object_limit || ':' || platform.objects);
        byte_limits := byte_limits || concat_ws(';',
          store.byte_scope || 'ls' || store.byte_limit || ':' || store.bytes,
          'gls' || platform.byte_limit || ':' || platform.bytes);
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
