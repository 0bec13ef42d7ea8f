import { Global, Module } from '@nestjs/common';
import { Cursors } from './page.js';
import { RouteTable } from './route-table.js';

/** The stateful providers that every module needs. */
@Global()
@Module({ providers: [Cursors, RouteTable], exports: [Cursors, RouteTable] })
export class CommonModule {}
