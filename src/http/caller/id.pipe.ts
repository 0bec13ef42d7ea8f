import { Injectable, type PipeTransform } from '@nestjs/common';
import { isId } from '../../common/names.js';
import { Problem } from '../../common/problem.js';

/** Validates an id in a path. A text that is not an id gets 404, like an id that does not exist. */
@Injectable()
export class IdPipe implements PipeTransform<string, string> {
  transform(value: string): string {
    if (!isId(value)) throw new Problem('not_found');
    return value.toLowerCase();
  }
}
