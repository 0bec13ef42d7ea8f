import { readFileSync } from 'node:fs';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { dropFunctions } from '../functions.js';

/** Creates all tables. `installFunctions` adds the functions and views after the migrations. */
export class Baseline1764900000001 implements MigrationInterface {
  readonly name = 'Baseline1764900000001';
  private readonly tables = readFileSync(new URL('0001-baseline.sql', import.meta.url), 'utf8');

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(this.tables);
  }

  async down(runner: QueryRunner): Promise<void> {
    const named = (kind: string) =>
      [...this.tables.matchAll(new RegExp(`^CREATE ${kind} (\\w+)`, 'gm'))].map(([, name]) => name).join(', ');
    // CASCADE: with their views.
    await runner.query(`DROP TABLE ${named('TABLE')} CASCADE`);
    await dropFunctions(runner);
    await runner.query(`DROP TYPE ${named('TYPE')}`);
  }
}
