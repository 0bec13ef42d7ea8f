-- Decides for each entry whether its version condition and the mode of its request allow the write.
--
-- Parameters: by entry: its request; the version that exists (0: none, or it has expired); the version that must exist (0: none,
-- -1: any, NULL: whatever exists). By request: its mode (0 skip, 1 replace, 2 fail); whether it is atomic.
--
-- Returns by entry: w(ritten), s(kipped), m(ismatch of versions), or a(borted), because another entry of the request has a mismatch
-- and the request is atomic or in mode fail.
CREATE OR REPLACE FUNCTION choose_writes(
  requests integer[], known bigint[], if_versions bigint[], modes integer[], atomic boolean[]
)
RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  choices text[] := '{}';
  -- Whether a request fails as a whole.
  fails boolean[] := '{}';
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
      fails[requests[i]] := true;
    END IF;
  END LOOP;
  IF cardinality(fails) > 0 THEN
    FOR i IN 1 .. cardinality(requests) LOOP
      IF choices[i] <> 'm' AND fails[requests[i]] THEN
        choices[i] := 'a';
      END IF;
    END LOOP;
  END IF;
  RETURN choices;
END
$$;
