-- Records the outcome of an attempt to sign in.
--
-- Outcomes: `failed`; `counted`: failed, but outside a streak; `void`: as if the attempt had not been made; `passed`: forgets
-- the account's failures from that network and its streak, and remembers the network.
CREATE OR REPLACE FUNCTION settle_sign_in(
  the_attempt uuid, the_account bytea, the_owner uuid, the_place text, outcome text
)
RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  CASE outcome
  WHEN 'failed' THEN
    UPDATE sign_in_attempts SET failed = true WHERE id = the_attempt;
  WHEN 'counted' THEN
    UPDATE sign_in_attempts SET failed = true WHERE id = the_attempt;
    DELETE FROM sign_in_streaks WHERE account = the_account;
  WHEN 'void' THEN
    DELETE FROM sign_in_attempts WHERE id = the_attempt;
    UPDATE sign_in_streaks SET failures = greatest(0, failures - 1) WHERE account = the_account;
  WHEN 'passed' THEN
    DELETE FROM sign_in_attempts a WHERE a.id = the_attempt
      OR (a.account = the_account AND a.place = the_place AND a.failed);
    DELETE FROM sign_in_streaks WHERE account = the_account;
    INSERT INTO sign_in_places AS p (owner_id, place, at) VALUES (the_owner, the_place, now())
    ON CONFLICT ON CONSTRAINT sign_in_places_pkey DO UPDATE SET at = excluded.at
      WHERE excluded.at - p.at > interval '1 hour';
  END CASE;
END
$$;
