import type { PipeTransform } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import {
  faultOfKey,
  readDeleteBody,
  readReadBody,
  readValue,
  readWriteBody,
  type KeysBody,
  type ReadBody,
  type WriteBody,
} from './store-body.js';

/** Validates the key of an entry in a path. */
export class KeyPipe implements PipeTransform<string, string> {
  transform(key: string): string {
    const fault = faultOfKey(key);
    if (fault) throw Problem.fields([{ pointer: '/key', ...fault }]);
    return key;
  }
}

/** Reads a body that is a value. The value stays JSON text. */
export class ValuePipe implements PipeTransform<Buffer | undefined, Buffer> {
  transform(body: Buffer | undefined): Buffer {
    if (!body) throw new Problem('malformed_json', { detail: 'Send JSON as the body.' });
    return readValue(body);
  }
}

export class WriteBodyPipe implements PipeTransform<Buffer | undefined, WriteBody> {
  transform(body: Buffer | undefined): WriteBody {
    return readWriteBody(present(body));
  }
}

export class ReadBodyPipe implements PipeTransform<Buffer | undefined, ReadBody> {
  transform(body: Buffer | undefined): ReadBody {
    return readReadBody(present(body));
  }
}

export class DeleteBodyPipe implements PipeTransform<Buffer | undefined, KeysBody> {
  transform(body: Buffer | undefined): KeysBody {
    return readDeleteBody(present(body));
  }
}

/** @throws Problem validation_failed if the body is missing, like every other route */
function present(body: Buffer | undefined): Buffer {
  if (!body || body.length === 0) throw Problem.field('', 'is required');
  return body;
}
