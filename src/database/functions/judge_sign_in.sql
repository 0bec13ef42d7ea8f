-- Judges an attempt to sign in.
--
-- Parameters: the account as a keyed hash; its user, if it exists; the network of the client; whether to reserve an attempt.
-- Returns `retry_after` above 0: denied for so many seconds. `must_wait`: it depends on attempts in progress whether it is
-- denied. Otherwise it may go on; with `reserve` it counts as an attempt in progress until settle_sign_in is called, and as a
-- failure after a minute without a call.
--
-- Limits: 10 failures of an account from a network in 15 minutes. Except for accounts that have signed in from the network:
-- 100 failures from a network in 15 minutes; and after 100 failures of an account in a row, one attempt after each pause of 1,
-- 2, 4, ... seconds, at most 15 minutes.
--
-- Locks, only with `reserve`: advisory locks on the network, then on the account. Without them, two attempts could both be the
-- tenth.
CREATE OR REPLACE FUNCTION judge_sign_in(
  the_account bytea, the_owner uuid, the_place text, reserve boolean, OUT attempt uuid, OUT retry_after float8,
  OUT must_wait boolean, OUT is_known boolean
)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  span CONSTANT interval := '15 minutes';
  moment timestamptz;
  nth timestamptz;
  streak record;
BEGIN
  -- One after the other: two that both see nine failures would both be the tenth.
  IF reserve THEN
    PERFORM pg_advisory_xact_lock(1902997612, hashtext(the_place));
    PERFORM pg_advisory_xact_lock(1902993763, hashtext(encode(the_account, 'hex')));
  END IF;
  moment := clock_timestamp();
  retry_after := 0;
  must_wait := false;
  is_known := EXISTS (SELECT FROM sign_in_places p WHERE p.owner_id = the_owner AND p.place = the_place);

  SELECT a.at INTO nth FROM sign_in_attempts a
  WHERE a.account = the_account AND a.place = the_place AND a.at > moment - span
    AND (a.failed OR a.at < moment - interval '1 minute')
  ORDER BY a.at DESC OFFSET 9 LIMIT 1;
  IF FOUND THEN retry_after := extract(epoch FROM nth + span - moment); END IF;

  SELECT a.at INTO nth FROM sign_in_attempts a
  WHERE a.place = the_place AND a.at > moment - span AND (a.failed OR a.at < moment - interval '1 minute')
  ORDER BY a.at DESC OFFSET 99 LIMIT 1;
  IF FOUND AND NOT is_known THEN
    retry_after := greatest(retry_after, extract(epoch FROM nth + span - moment));
  END IF;

  SELECT s.failures, s.at INTO streak FROM sign_in_streaks s WHERE s.account = the_account;
  IF streak.failures >= 100 AND NOT is_known THEN
    retry_after := greatest(retry_after, extract(epoch FROM
      streak.at + least(span, make_interval(secs => 2 ^ least(streak.failures - 100, 10))) - moment));
  END IF;
  IF retry_after > 0 THEN RETURN; END IF;

  must_wait := (SELECT count(*) FROM sign_in_attempts a
      WHERE a.account = the_account AND a.place = the_place AND a.at > moment - span) >= 10
    OR NOT is_known
      AND (SELECT count(*) FROM sign_in_attempts a WHERE a.place = the_place AND a.at > moment - span) >= 100;
  IF reserve AND NOT must_wait THEN
    INSERT INTO sign_in_attempts (account, place, at) VALUES (the_account, the_place, moment) RETURNING id INTO attempt;
    INSERT INTO sign_in_streaks AS s (account, failures, at) VALUES (the_account, 1, moment)
    ON CONFLICT ON CONSTRAINT sign_in_streaks_pkey DO UPDATE SET failures = s.failures + 1, at = moment;
  END IF;
END
$$;
