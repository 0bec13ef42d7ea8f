import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Each PL/pgSQL function that serves requests keeps its plans for the life of a connection, so it plans with index scans
 * only (see docs/decisions/0023). Before, every connection did. `recount_platform` reads whole tables and is not listed.
 */
export class IndexPlans1764600000008 implements MigrationInterface {
  readonly name = 'IndexPlans1764600000008';

  async up(runner: QueryRunner): Promise<void> {
    for (const name of FUNCTIONS) {
      for (const setting of SETTINGS) await runner.query(`ALTER FUNCTION ${name} SET ${setting} = off`);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const name of FUNCTIONS) {
      for (const setting of SETTINGS) await runner.query(`ALTER FUNCTION ${name} RESET ${setting}`);
    }
  }
}

const SETTINGS = ['enable_seqscan', 'enable_bitmapscan'];

const FUNCTIONS = [
  ...['spend_calls', 'count_calls', 'rank_calls', 'keep_usage'],
  ...['charge_gauge', 'release_gauge', 'add_objects', 'count_users'],
  ...['write_entries', 'delete_entries', 'sweep_entries'],
  ...['recount_credits', 'sweep_grants', 'plan_chosen', 'credits_left'],
  ...['judge_sign_in', 'settle_sign_in', 'void_tokens', 'record_requests'],
];
