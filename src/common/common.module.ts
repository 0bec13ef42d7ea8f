import { Global, Module } from '@nestjs/common';
import { Cursors } from './page.js';
import { RouteTable } from './route-table.js';

/** What every module needs and that has a state. */
@Global()
@Module({ providers: [Cursors, RouteTable], exports: [Cursors, RouteTable] })
export class CommonModule {}
