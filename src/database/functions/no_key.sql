-- Returns the key_id of flows that belong to an owner as a whole.
CREATE OR REPLACE FUNCTION no_key()
RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
SELECT '00000000-0000-0000-0000-000000000000'::uuid
$$;
