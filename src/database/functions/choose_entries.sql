-- Says what the conditions and modes of requests make of their entries.
--
-- Parameters: by entry: its request; the version that exists (0: none); the version that must exist (0: none, -1: any, NULL: whatever
-- exists). By request: its mode (0 skip, 1 replace, 2 fail); whether it is atomic.
--
-- Returns by entry: w(rite), s(kip), m(ismatch of versions), or a(bort) because of a mismatch in a request that is atomic or in mode
-- fail.
CREATE OR REPLACE FUNCTION choose_entries(
  requests integer[], known bigint[], if_versions bigint[], modes integer[], atomic boolean[]
)
RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  choices text[] := '{}';
  failing integer[] := '{}';
BEGIN
  FOR i IN 1 .. cardinality(requests) LOOP
    choices[i] := CASE
      WHEN if_versions[i] IS NOT NULL THEN
        CASE WHEN if_versions[i] = known[i] OR (if_versions[i] = -1 AND known[i] > 0) THEN 'w' ELSE 'm' END
      WHEN known[i] = 0 OR modes[requests[i]] = 1 THEN 'w'
      WHEN modes[requests[i]] = 0 THEN 's'
      ELSE 'm'
    END;
    IF choices[i] = 'm' AND (atomic[requests[i]] OR modes[requests[i]] = 2) THEN
      failing := failing || requests[i];
    END IF;
  END LOOP;
  IF cardinality(failing) > 0 THEN
    FOR i IN 1 .. cardinality(requests) LOOP
      IF choices[i] <> 'm' AND requests[i] = ANY(failing) THEN
        choices[i] := 'a';
      END IF;
    END LOOP;
  END IF;
  RETURN choices;
END
$$;
