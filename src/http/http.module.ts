import { Global, Module } from '@nestjs/common';
import { ByteBudget } from './byte-budget.js';
import { Cursors } from '../common/page.js';
import { ReadAhead } from './caller/read-ahead.js';
import { RouteTable } from './route-table.js';

/** For all responses and all large request bodies of this process. */
const BUDGET_BYTES = 268_435_456;

/** The stateful providers that every module needs. */
@Global()
@Module({
  providers: [Cursors, ReadAhead, RouteTable, { provide: ByteBudget, useFactory: () => new ByteBudget(BUDGET_BYTES) }],
  exports: [Cursors, ReadAhead, RouteTable, ByteBudget],
})
export class HttpModule {}
