import { Injectable, type PipeTransform } from '@nestjs/common';
import { isId } from './names.js';
import { Problem } from './problem.js';

/** An id in a path. What is written as no id belongs to nothing: 404, like any other that does not exist. */
@Injectable()
export class IdPipe implements PipeTransform<string, string> {
  transform(value: string): string {
    if (!isId(value)) throw new Problem('not_found');
    return value.toLowerCase();
  }
}
