import { Global, Module } from '@nestjs/common';
import { Cursors } from './page.js';
import { ReadAhead } from './read-ahead.js';
import { RouteTable } from './route-table.js';

/** The stateful providers that every module needs. */
@Global()
@Module({ providers: [Cursors, ReadAhead, RouteTable], exports: [Cursors, ReadAhead, RouteTable] })
export class CommonModule {}
